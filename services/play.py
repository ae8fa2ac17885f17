"""The shop for play: what `make up` runs beside Postgres and Kafka. compose.yaml names one of these a service.

    python -m services.play up            servers and shop, in the background (make up)
    python -m services.play setup         databases, tables, topics, goods on the shelves; safe to repeat
    python -m services.play gateway | relay | orchestrator | orders | stock | payments | shipping | analytics | floor

DATABASE_URL names the server; the orchestrator's sagas live in its database `amends`, each service has its own.
"""

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from orchestrator.local import ports
from orchestrator.local.background import up_in_background
from orchestrator.local.paths import VarDir
from services import analytics, orders, payments, shipping, stock
from services.demo.basket import DELIVERED

SERVICES = {"orders": orders, "stock": stock, "payments": payments, "shipping": shipping, "analytics": analytics}
NAMES = ("gateway", "relay", "orchestrator-1", "orchestrator-2", *SERVICES, "floor")
AMENDS = (sys.executable, "-m", "orchestrator.cli")
ORCHESTRATOR = "amends"


def main(what: str) -> None:
    """Be one of the shop's processes, or set it up. Exits with 2 for a name that is none."""
    if what == "up":
        up(Path("var"))
    elif what == "setup":
        setup()
    elif what == "gateway":
        book, port = str(gateway_book()), os.environ["GATEWAY_PORT"]
        become(sys.executable, "-m", "services.gateway", "--book", book, "--port", port)
    elif what == "relay":
        databases = [part for name in (ORCHESTRATOR, *map(database_of, SERVICES)) for part in ("--database", url(name))]
        become(*AMENDS, "relay", *databases, database=ORCHESTRATOR)
    elif what == "orchestrator":
        become(*AMENDS, "orchestrator", "services.sagas:app", database=ORCHESTRATOR)
    elif what == "floor":
        os.environ["GATEWAY_BOOK"], os.environ["MAILBOX"] = str(gateway_book()), str(mailbox())
        os.environ["AMENDS_API_SERVICE_DATABASES"] = " ".join(f"{name}={url(database_of(name))}" for name in (*SERVICES, "receipts"))
        become(sys.executable, "-m", "services.floor", "--port", os.environ["FLOOR_PORT"])
    elif what in SERVICES:
        become(*AMENDS, "participant", f"services.{what}:{what}", database=database_of(what))
    else:
        print(f"{what!r} is no part of the shop.\n{__doc__}", file=sys.stderr)
        sys.exit(2)


def up(var: Path) -> None:
    """Start it all in the background, and say what to do with it."""
    stack = up_in_background(var, progress=lambda line: print(line, flush=True), services=("setup", *NAMES))
    for name, value in stack.environment().items():
        print(f"export {name}={value}")
    order = (
        '{"order_id": "1", "customer": "ada", "card": "4242", "country": "MY", '
        '"items": [{"sku": "pen", "quantity": 1}], "total": "4.50"}'
    )
    print(f"The shop is open. Try: .venv/bin/amends start checkout --id order-1 --json '{order}'")
    print(f"See it, and pull its plugs: http://127.0.0.1:{ports.read(VarDir.at(var).ports)['floor']}/")


def setup() -> None:
    """The orchestrator's database first: the services answer to its topic."""
    migrate(ORCHESTRATOR, "engine", "--shards", "8")
    for name, service in SERVICES.items():
        is_new = migrate(database_of(name), "participant")
        if is_new:
            service.create_tables(url(database_of(name)))
    if not shelves_are_filled():
        stock.deliver(url(database_of("stock")), DELIVERED)


def migrate(database: str, part: str, *more: str) -> bool:
    """Make the database if it is missing, and the runtime's tables in it. Whether it was missing."""
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone()
        if found is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
    command = (*AMENDS, "migrate", "services.app:app", "--part", part, *more)
    subprocess.run(command, env={**os.environ, "DATABASE_URL": url(database)}, check=True)
    return found is None


def shelves_are_filled() -> bool:
    with psycopg.connect(url(database_of("stock"))) as connection:
        row = connection.execute("SELECT count(*) FROM shelves").fetchone()
    return row is not None and row[0] > 0


def become(*command: str, database: str = ORCHESTRATOR) -> None:
    """Be this program from now on, with the environment of a process of this database."""
    gateway = f"http://{os.environ.get('GATEWAY_HOST', '127.0.0.1')}:{os.environ['GATEWAY_PORT']}"
    os.execvpe(command[0], command, {**os.environ, "DATABASE_URL": url(database), "GATEWAY_URL": gateway})


def gateway_book() -> Path:
    """Written by the gateway, read by the floor."""
    return Path(os.environ["VAR_DIR"]) / "play-gateway.sqlite"


def mailbox() -> Path:
    """What the mail server has kept."""
    return Path(os.environ["VAR_DIR"]) / "play-mail.sqlite"


def database_of(service: str) -> str:
    return f"shop_{service}"


def url(database: str) -> str:
    """Of a database of the server that DATABASE_URL names."""
    return urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{database}"))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
