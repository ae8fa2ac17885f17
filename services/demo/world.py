"""The databases, topics and addresses of one run. Every run has its own, so that a second one needs no cleaning.

What the former run left is dropped at the start of the next: until then one can look at it.
"""

import asyncio
import json
import os
import secrets
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from confluent_kafka.admin import AdminClient
from psycopg import sql

from orchestrator.local.paths import VarDir, cache_dir
from orchestrator.local.ports import replace_json, take
from orchestrator.local.stack import RunningStack, Stack
from services import analytics, orders, payments, shipping, stock
from services.demo.basket import DELIVERED
from services.demo.options import Options

SERVICES = {"orders": orders, "stock": stock, "payments": payments, "shipping": shipping, "analytics": analytics}
SHARDS = 8
SLOT_PATIENCE_S = 10.0
KAFKA_PATIENCE_S = 15.0
SLOTS = "SELECT slot_name, active_pid FROM pg_replication_slots WHERE database = %s"


@dataclass(frozen=True, slots=True)
class World:
    """`urls`: orchestrator and each service -> its database."""

    run: str
    folder: Path
    stack: Stack
    urls: Mapping[str, str]
    gateway_port: int

    @property
    def topic_prefix(self) -> str:
        """Begins the name of each topic and group."""
        return f"shop.{self.run}."

    @property
    def gateway_url(self) -> str:
        return f"http://127.0.0.1:{self.gateway_port}"

    @property
    def gateway_book(self) -> Path:
        return self.folder / f"gateway-{self.run}.sqlite"

    @property
    def path(self) -> Path:
        """What the auditor is given."""
        return self.folder / "world.json"

    @property
    def orders_path(self) -> Path:
        return self.folder / "orders.jsonl"

    @property
    def report_path(self) -> Path:
        return self.folder / "report.json"

    def environment(self, database: str) -> dict[str, str]:
        """Of a process whose database it is."""
        return {
            "DATABASE_URL": self.urls[database],
            "KAFKA_BOOTSTRAP_SERVERS": self.stack.kafka_bootstrap_servers,
            "AMENDS_TOPIC_PREFIX": self.topic_prefix,
            "GATEWAY_URL": self.gateway_url,
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }


async def prepare(running: RunningStack, options: Options) -> World:
    """Drop the former run's databases and make this one's, with all tables and goods on the shelves."""
    world = await new_world(running, options.var, options.folder, ("orchestrator", *SERVICES))
    await build(world)
    return world


async def new_world(running: RunningStack, var: Path, folder: Path, databases: Iterable[str]) -> World:
    """Names and addresses for a run; nothing is made yet. Drops what the former run in this folder left."""
    folder.mkdir(parents=True, exist_ok=True)
    run = f"{time.strftime('%H%M%S')}_{secrets.token_hex(2)}"
    urls = {name: with_database(running.stack.database_url, f"shop_{run}_{name}") for name in databases}
    ports = take(["gateway"], VarDir.at(var), cache_dir())
    world = World(run, folder, running.stack, urls, ports["gateway"])
    world.report_path.unlink(missing_ok=True)  # A run that breaks off must not leave the former one's proof.
    await asyncio.to_thread(forget_former_run, world)
    leave_addresses(world)
    return world


def leave_addresses(world: World) -> None:
    """world.json for the auditor, env for people. Before anything is made, so that the next run can drop it."""
    places = {"orders": str(world.orders_path), "gateway_book": str(world.gateway_book)}
    topics = {"kafka": world.stack.kafka_bootstrap_servers, "topic_prefix": world.topic_prefix}
    replace_json(world.path, {**places, **topics, "databases": dict(world.urls)})
    variables = world.environment("orchestrator")
    lines = [f"export {name}='{value}'\n" for name, value in variables.items()]
    commands = f"export PATH='{Path(sys.executable).parent}':\"$PATH\"\n"  # so that `amends` is found
    (world.folder / "env").write_text("".join([*lines, commands]))


def create_database(world: World, name: str, template: str = "template1") -> None:
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
    with psycopg.connect(world.stack.database_url, autocommit=True) as connection:
        connection.execute(statement.format(sql.Identifier(database_of(world.urls[name])), sql.Identifier(template)))


async def build(world: World, shards: int = SHARDS) -> None:
    """Make the databases. The services' begin alike, so one is migrated and the others are copies of it."""
    first, *others = SERVICES
    for name in ("orchestrator", first):
        await asyncio.to_thread(create_database, world, name)
    # One after the other: the first makes the topic `sagas`, which the services answer to.
    await migrate(world, "orchestrator", "--part", "engine", "--shards", str(shards))
    await migrate(world, first, "--part", "participant")
    for name in others:
        await asyncio.to_thread(create_database, world, name, database_of(world.urls[first]))
    await asyncio.gather(*(asyncio.to_thread(SERVICES[name].create_tables, world.urls[name]) for name in SERVICES))
    await asyncio.to_thread(stock.deliver, world.urls["stock"], DELIVERED)


async def migrate(world: World, name: str, *parts: str, app: str = "services.app:app") -> None:
    """Make the runtime's tables and topics, as a deploy would. Raises RuntimeError with what `amends migrate` said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orchestrator.cli", "migrate", app, *parts),
        env={**os.environ, **world.environment(name)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"`amends migrate` of {name} failed:\n{output.decode()}")


def forget_former_run(world: World) -> None:
    """Drop the databases, topics and gateway's book that the last world.json names, if they are on these servers."""
    try:
        former = json.loads(world.path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return
    with psycopg.connect(world.stack.database_url, autocommit=True) as connection:
        for url in former["databases"].values():
            if urlsplit(url).netloc == urlsplit(world.stack.database_url).netloc:
                drop_database(connection, database_of(url))
    if former.get("kafka") == world.stack.kafka_bootstrap_servers:
        delete_topics(former["kafka"], former["topic_prefix"])
    for file in world.folder.glob("gateway-*.sqlite*"):
        file.unlink()


def delete_topics(bootstrap_servers: str, prefix: str) -> None:
    """All topics whose name begins so."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    names = [name for name in admin.list_topics(timeout=KAFKA_PATIENCE_S).topics if name.startswith(prefix)]
    for deleted in admin.delete_topics(names).values() if names else ():
        deleted.result(KAFKA_PATIENCE_S)


def drop_database(connection: psycopg.Connection, name: str) -> None:
    """With its slots: a slot in use ends a moment after its reader."""
    deadline_s = time.monotonic() + SLOT_PATIENCE_S
    while (slots := connection.execute(SLOTS, [name]).fetchall()) and time.monotonic() < deadline_s:
        for slot, active_pid in slots:
            if active_pid is None:
                connection.execute("SELECT pg_drop_replication_slot(%s)", [slot])
            else:
                connection.execute("SELECT pg_terminate_backend(%s)", [active_pid])
    connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def with_database(url: str, name: str) -> str:
    """The same server's URL with another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def database_of(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")
