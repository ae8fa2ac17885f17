"""The shop for play: what `make up` runs beside Postgres and Kafka. compose.yaml names one of these a service.

    python -m services.play up            servers and shop, in the background (make up)
    python -m services.play setup         databases, tables, topics, goods on the shelves; safe to repeat
    python -m services.play gateway | relay | orchestrator-1 | orchestrator-2 | webhook | mail | floor
    python -m services.play orders | stock | payments | shipping | analytics | email | receipts

DATABASE_URL names the server; the orchestrator's sagas live in its database `amends`, each service has its own, and
the webhook shares that of payments, to which it belongs.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from orchestrator.local import ports
from orchestrator.local.background import up_in_background
from orchestrator.local.paths import VarDir
from services.delivery.signature import WEBHOOK_PATH

# By name: each process is started through this module, and loads only its own.
SERVICES = ("orders", "stock", "payments", "shipping", "analytics")
# They only listen: nothing of theirs has to be relayed.
LISTENERS = {"email": "services.delivery.mailer:email", "receipts": "services.delivery.receipts:receipts"}
ORCHESTRATORS = ("orchestrator-1", "orchestrator-2")
NAMES = ("gateway", "relay", *ORCHESTRATORS, *SERVICES, "webhook", "mail", *LISTENERS, "floor")
HOST = "127.0.0.1"
WEBHOOK_SECRET = "whsec_of_the_play_shop"  # known to the gateway and the webhook; a real one comes from a vault
AMENDS = (sys.executable, "-m", "orchestrator.cli")
ORCHESTRATOR = "amends"


def main(what: str) -> None:
    """Be one of the shop's processes, or set it up. Exits with 2 for a name that is none."""
    if what == "up":
        up(Path("var"))
    elif what == "setup":
        setup()
    elif what == "gateway":
        told_at = f"http://{os.environ.get('WEBHOOK_HOST', HOST)}:{os.environ['WEBHOOK_PORT']}{WEBHOOK_PATH}"
        book = ("--book", str(gateway_book(Path(os.environ["VAR_DIR"]))), "--port", os.environ["GATEWAY_PORT"])
        become(sys.executable, "-m", "services.gateway", *book, "--webhook-url", told_at)
    elif what == "webhook":
        port = ("--port", os.environ["WEBHOOK_PORT"])
        become(sys.executable, "-m", "services.delivery.webhook", *port, database=database_of("payments"))
    elif what == "mail":
        box = ("--box", str(mailbox(Path(os.environ["VAR_DIR"]))), "--port", os.environ["MAIL_PORT"])
        become(sys.executable, "-m", "services.delivery.mail", *box)
    elif what == "relay":
        databases = [part for name in (ORCHESTRATOR, *map(database_of, SERVICES)) for part in ("--database", url(name))]
        become(*AMENDS, "relay", *databases, database=ORCHESTRATOR)
    elif what in ORCHESTRATORS:
        os.environ["AMENDS_WORKER_NAME"] = f"{what}-{os.getpid()}"  # so that people know who has taken over
        become(*AMENDS, "orchestrator", "services.sagas:app", database=ORCHESTRATOR)
    elif what == "floor":
        be_the_floor(Path(os.environ["VAR_DIR"]))
    elif what in SERVICES:
        become(*AMENDS, "participant", f"services.{what}:{what}", database=database_of(what))
    elif what in LISTENERS:
        become(*AMENDS, "participant", LISTENERS[what], database=database_of(what))
    else:
        print(f"{what!r} is no part of the shop.\n{__doc__}", file=sys.stderr)
        sys.exit(2)


def up(var: Path) -> None:
    """Start it all in the background, and say what to do with it."""
    from services.delivery import menu

    stack = up_in_background(var, progress=lambda line: print(line, flush=True), services=("setup", *NAMES))
    for name, value in stack.environment().items():
        print(f"export {name}={value}")
    leave_addresses(var, stack.database_url)
    order = {
        "order_id": "order-1",
        "customer": "Ada",
        "address": menu.GOOD_ADDRESS,
        "card": menu.GOOD_CARD,
        "dishes": [{"sku": "nasi lemak", "quantity": 2}, {"sku": "teh tarik", "quantity": 6}],
        "total": "45.00",
    }
    print(f"The shop is open. Try: .venv/bin/amends start delivery --id order-1 --json '{json.dumps(order)}'")
    print("and within a minute, as the customer: .venv/bin/python -m services.delivery.customer pay order-1")
    print(f"Or see it all, and pull its plugs: http://{HOST}:{ports.read(VarDir.at(var).ports)['floor']}/")


def setup() -> None:
    """The orchestrator's database first: the services answer to its topic."""
    from services import stock
    from services.delivery import menu, receipts
    from services.demo.basket import DELIVERED

    migrate(ORCHESTRATOR, "engine", "--shards", "8")
    for name in SERVICES:
        is_new = migrate(database_of(name), "participant")
        if is_new:
            import_module(f"services.{name}").create_tables(url(database_of(name)))
    for name, app in LISTENERS.items():
        migrate(database_of(name), "participant", app=app)
    receipts.create_tables(url(database_of("receipts")))
    if new := not_on_the_shelves({**DELIVERED, **menu.PORTIONS}):
        stock.deliver(url(database_of("stock")), new)


def be_the_floor(var: Path) -> None:
    """It reads everybody's books, so it is told where they are."""
    databases = " ".join(f"{name}={url(database_of(name))}" for name in (*SERVICES, "receipts"))
    os.environ["AMENDS_API_SERVICE_DATABASES"] = databases
    os.environ["GATEWAY_BOOK"], os.environ["MAILBOX"] = str(gateway_book(var)), str(mailbox(var))
    become(sys.executable, "-m", "services.floor", "--port", os.environ["FLOOR_PORT"])


def leave_addresses(var: Path, database_url: str) -> None:
    """For the auditor of deliveries, and for people: where each book is."""
    names = {"orchestrator": ORCHESTRATOR, **{name: database_of(name) for name in (*SERVICES, *LISTENERS)}}
    databases = {name: url(database, of=database_url) for name, database in names.items()}
    world = {"databases": databases, "gateway_book": str(gateway_book(var)), "mailbox": str(mailbox(var))}
    ports.replace_json(var / "play.json", world)


def migrate(database: str, part: str, *more: str, app: str = "services.app:app") -> bool:
    """Make the database if it is missing, and the runtime's tables in it. Whether it was missing."""
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone()
        if found is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
    command = (*AMENDS, "migrate", app, "--part", part, *more)
    subprocess.run(command, env={**os.environ, "DATABASE_URL": url(database)}, check=True)
    return found is None


def not_on_the_shelves(goods: Mapping[str, int]) -> dict[str, int]:
    """What of it is new: sku -> quantity."""
    with psycopg.connect(url(database_of("stock"))) as connection:
        known = {sku for (sku,) in connection.execute("SELECT sku FROM shelves")}
    return {sku: n for sku, n in goods.items() if sku not in known}


def become(*command: str, database: str = ORCHESTRATOR) -> None:
    """Be this program from now on, with the environment of a process of this database."""
    gateway = f"http://{os.environ.get('GATEWAY_HOST', HOST)}:{os.environ['GATEWAY_PORT']}"
    more = {"DATABASE_URL": url(database), "GATEWAY_URL": gateway, "WEBHOOK_SECRET": WEBHOOK_SECRET}
    os.execvpe(command[0], command, {**os.environ, **more})


def gateway_book(var: Path) -> Path:
    """What the gateway writes, and everybody may read."""
    return var.absolute() / "play-gateway.sqlite"


def mailbox(var: Path) -> Path:
    """What the mail server has kept."""
    return var.absolute() / "play-mail.sqlite"


def database_of(service: str) -> str:
    return f"shop_{service}"


def url(database: str, of: str | None = None) -> str:
    """Of a database of the server that `of` names, or DATABASE_URL."""
    return urlunsplit(urlsplit(of or os.environ["DATABASE_URL"])._replace(path=f"/{database}"))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
