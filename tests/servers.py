"""One Postgres and one Kafka for a whole test run, and a clean corner of both for each test.

The run's first process (pytest itself, or the controller of pytest-xdist) chooses a name and a directory; whichever
worker needs the servers first starts them under a file lock; the first process ends them. If it is killed, the keeper
notices and ends them itself. DATABASE_URL and KAFKA_BOOTSTRAP_SERVERS, both set, name servers to use instead.
"""

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from confluent_kafka.admin import AdminClient
from psycopg import sql

from orchestrator.local.background import down, up_in_background
from orchestrator.local.stack import Stack
from tests import roles
from tests.deadlines import eventually

RUN_VARIABLE = "AMENDS_TEST_RUN"
"""The directory of this run, made by its first process and inherited by its workers; its last part names the run."""

DROP_SECONDS = 15.0
KAFKA_SECONDS = 15.0


def begin_run() -> None:
    """Name the run. Called once, by its first process."""
    os.environ[RUN_VARIABLE] = tempfile.mkdtemp(prefix="amends-test-")
    os.environ[f"{RUN_VARIABLE}_PID"] = str(os.getpid())
    # Kills of a process lose nothing by it, and nothing outlives the run.
    os.environ.setdefault("POSTGRES_FSYNC", "off")


def end_run() -> None:
    """End what the run started; with servers of somebody else's, drop what a test left."""
    folder = run_folder()
    if (folder / "stack").exists():
        down(folder / "stack")
    elif (url := os.environ.get("DATABASE_URL")) and (folder / "lock").exists():
        drop_databases(url, f"t_{run_name()}_%")
        roles.drop_roles(url)
    shutil.rmtree(folder, ignore_errors=True)
    del os.environ[RUN_VARIABLE]


def run_folder() -> Path:
    """Return the directory of this run."""
    return Path(os.environ[RUN_VARIABLE])


def run_name() -> str:
    """Return a name that no other run has; it begins every database and topic."""
    return run_folder().name.removeprefix("amends-test-").lower()


@contextmanager
def once_per_run(name: str) -> Iterator[bool]:
    """Hold the run's lock; True for the first process that comes with this name and does not fail."""
    folder = run_folder()
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / f"{name}.done"
        yield not done.exists()
        done.touch()


def shared_stack() -> Stack:
    """Return the run's servers, started if this is the first process that asks."""
    given = os.environ.get("DATABASE_URL"), os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    with once_per_run("stack"):
        if given[0] and given[1]:
            return Stack(run_folder(), given[0], given[1])
        watched_pid = int(os.environ[f"{RUN_VARIABLE}_PID"])
        return up_in_background(run_folder() / "stack", progress=print, watched_pid=watched_pid)


def create_database(admin_url: str, template: str | None = None) -> str:
    """Create a database, a copy of the template if there is one; return its URL."""
    name = f"t_{run_name()}_{secrets.token_hex(4)}"
    _create(admin_url, name, template or "template1")
    return with_database(admin_url, name)


def create_template(admin_url: str, name: str, build: Callable[[str], None]) -> str:
    """Build a database once a run, by `build(url)`, to copy the tests' databases from; return its name."""
    database = f"t_{run_name()}_template_{name}"
    with once_per_run(f"template-{name}") as first:
        if first:
            drop_databases(admin_url, database)  # A build that failed left it half done.
            _create(admin_url, database, "template1")
            build(with_database(admin_url, database))
    return database


def drop_databases(admin_url: str, pattern: str) -> None:
    """Drop all databases whose name is LIKE the pattern, with their replication slots and connections."""
    with psycopg.connect(admin_url, autocommit=True) as connection:
        rows = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE %s", [pattern]).fetchall()
        for (name,) in rows:
            eventually(lambda: _slots_dropped(connection, name), DROP_SECONDS, f"slots of {name} dropped")  # noqa: B023
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def delete_topics(bootstrap_servers: str, prefix: str) -> None:
    """Delete all topics whose name begins with the prefix."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    names = [name for name in admin.list_topics(timeout=KAFKA_SECONDS).topics if name.startswith(prefix)]
    for deleted in admin.delete_topics(names, operation_timeout=KAFKA_SECONDS).values() if names else ():
        deleted.result()


def database_name(url: str) -> str:
    """Return the name of the database that the URL names."""
    return urlsplit(url).path.removeprefix("/")


def with_database(url: str, name: str) -> str:
    """Return the same server's URL with another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def _create(admin_url: str, name: str, template: str) -> None:
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute(statement)


def _slots_dropped(connection: psycopg.Connection, database: str) -> bool:
    """Take a step towards no slot: a slot in use can't be dropped before its sender has gone."""
    slots = "SELECT slot_name, active_pid FROM pg_replication_slots WHERE database = %s"
    rows = connection.execute(slots, [database]).fetchall()
    for slot, active_pid in rows:
        if active_pid is not None:
            connection.execute("SELECT pg_terminate_backend(%s)", [active_pid])
        else:
            connection.execute("SELECT pg_drop_replication_slot(%s)", [slot])
    return not rows
