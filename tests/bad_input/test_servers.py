"""Servers that are too old, set up otherwise, or have run out of something: said, waited out, and nothing is lost."""

import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from orchestrator import DependencyError, SyncClient
from orchestrator.doctor import judge
from orchestrator.doctor_facts import postgres_facts
from orchestrator.first_session import try_session
from orchestrator.messaging.kafka_admin import Admin
from orchestrator.migrations import migrate
from orchestrator.settings import Settings
from tests.bad_input import program
from tests.bad_input.own_postgres import OwnPostgres, own_postgres
from tests.bad_input.program import Go, hungry, two_payments
from tests.bad_input.world import World
from tests.deadlines import deadline
from tests.integration.engine import kit

SSL_REQUEST, GSS_REQUEST = 80877103, 80877104


@contextmanager
def at_work_on(url: str, kafka: str, prefix: str) -> Iterator[World]:
    with (
        kit.system(url, kafka, prefix, shards=1, partitions=1) as system,
        SyncClient(system.settings) as client,
    ):
        system.execute(program.TABLES)
        system.relay()
        system.participants([program.till])
        system.orchestrator(program.app.sagas)
        yield World(system, client)


def insistently(world: World, saga_id: str) -> None:
    """A client asks again: every request may be repeated."""

    def asked() -> bool:
        with suppress(psycopg.Error, DependencyError):
            world.client.start(two_payments, saga_id, id=saga_id)
            return True
        return False

    world.eventually(asked, f"{saga_id} is started", 60)


def finish(world: World, *ids: str) -> None:
    """All go to their end, and each was paid once."""
    for saga_id in ids:
        world.client.send(saga_id, Go(), message_id="go")
        assert world.client.result(two_payments, saga_id, timeout=deadline(90)) == 11
        assert world.paid(saga_id) == 11


# ---- versions --------------------------------------------------------------------------------------------------------


@contextmanager
def says_it_is(version: str) -> Iterator[str]:
    """Nobody has a Postgres that old here: so much of one that a driver connects to it and asks who it is."""
    listener = socket.create_server(("127.0.0.1", 0))

    def message(kind: bytes, body: bytes) -> bytes:
        return kind + struct.pack(">i", len(body) + 4) + body

    def setting(name: str, value: str) -> bytes:
        return message(b"S", f"{name}\0{value}\0".encode())

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                with client:
                    while struct.unpack(">ii", client.recv(8))[1] in (SSL_REQUEST, GSS_REQUEST):
                        client.sendall(b"N")
                    client.recv(10_000)
                    client.sendall(
                        message(b"R", struct.pack(">i", 0))
                        + setting("server_version", version)
                        + setting("client_encoding", "UTF8")
                        + setting("standard_conforming_strings", "on")
                        + message(b"K", struct.pack(">ii", 1, 1))
                        + message(b"Z", b"I")
                    )
                    client.recv(10_000)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"postgresql://postgres@127.0.0.1:{listener.getsockname()[1]}/shop"
    finally:
        listener.close()


@pytest.mark.parametrize("version", ["14.12", "9.6.24"])
def test_an_old_postgres_is_refused_by_whoever_comes_first(version: str) -> None:
    with says_it_is(version) as url:
        for first in (migrate, try_session):
            with pytest.raises(DependencyError, match=f"this Postgres is {version}; Amends needs 15 or later"):
                first(url)
        with (
            SyncClient(Settings(database_url=url)) as client,
            pytest.raises(DependencyError, match="needs 15 or later"),
        ):
            client.cancel("order-7")


def test_the_oldest_postgres_that_will_do_is_taken() -> None:
    with says_it_is("15.0") as url:
        try_session(url)


def test_an_old_kafka_is_refused_before_anything_is_made(
    database_url: str, kafka_bootstrap_servers: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As 3.6 answers, which nobody has here: without the setting that came with 3.7."""
    told = Admin.broker_settings

    def as_3_6(self: Admin) -> dict[str, str]:
        return {name: value for name, value in told(self).items() if not name.startswith("group.coordinator.")}

    def migrated() -> None:
        migrate(database_url, shards=1, topic_prefix=topic_prefix, kafka_bootstrap_servers=kafka_bootstrap_servers)

    monkeypatch.setattr(Admin, "broker_settings", as_3_6)
    with pytest.raises(DependencyError, match=r"older than 3\.7; use 3\.7 or later"):
        migrated()
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT to_regclass('amends.outbox')").fetchone() == (None,)
    assert Admin(kafka_bootstrap_servers).partitions([f"{topic_prefix}sagas"]) == {}
    monkeypatch.undo()
    migrated()


# ---- settings, and what is used up -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "said", "doctors"),
    [
        (("wal_level=replica",), "Set `wal_level = logical`", "the relay has nothing to follow and polls"),
        (("max_replication_slots=1",), "all replication slots are in use", "the relay of this database gets none"),
    ],
    ids=["no logical WAL", "no slot left"],
)
def test_where_there_is_nothing_to_follow_the_relay_polls_and_says_so(
    tmp_path: Path,
    kafka_bootstrap_servers: str,
    topic_prefix: str,
    caplog: pytest.LogCaptureFixture,
    options: tuple[str, ...],
    said: str,
    doctors: str,
) -> None:
    with own_postgres(tmp_path / "data", *options) as postgres:
        if "slots" in options[0]:
            _sql(postgres, "SELECT pg_create_physical_replication_slot('somebody_elses')")
        with at_work_on(postgres.url, kafka_bootstrap_servers, topic_prefix) as world:
            world.neighbours_go_on()
            world.eventually(lambda: said in caplog.text, "the relay says why")
            state = "SELECT state FROM amends.relay_lease"
            world.eventually(lambda: world.system.rows(state) == [("polling",)], "so does its row")
            assert doctors in "\n".join(map(str, judge(postgres_facts(world.system.settings), None)))
            if "slots" in options[0]:  # It tries again, and need not be started anew.
                _sql(postgres, "SELECT pg_drop_replication_slot('somebody_elses')")
                world.eventually(lambda: world.system.rows(state) == [("streaming",)], "it follows the slot", 90)
                world.neighbours_go_on()


@pytest.mark.slow
def test_with_all_connections_used_up_everybody_waits_and_goes_on(
    tmp_path: Path, kafka_bootstrap_servers: str, topic_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    with own_postgres(tmp_path / "data", "max_connections=40") as postgres, ExitStack() as stack:
        world = stack.enter_context(at_work_on(postgres.url, kafka_bootstrap_servers, topic_prefix))
        insistently(world, "p")
        world.eventually(lambda: world.paid("p") == 1, "it waits for its message")
        held = [psycopg.connect(postgres.url, autocommit=True)]
        for _ in range(3):  # What the system has goes to us, too; it may get some back before we have them all.
            held[0].execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend'"
                " AND pid <> ALL (%s)",
                [[one.info.backend_pid for one in held]],
            )
            _take_all(postgres, held)
        with (
            SyncClient(world.system.settings.model_copy(update={"client_connect_timeout_s": 1.0})) as client,
            pytest.raises(DependencyError, match=r"no connection to .* within 1 s"),
        ):
            client.cancel("p")
        assert "too many clients" in caplog.text
        for one in held:
            one.close()
        insistently(world, "q")
        finish(world, "p", "q")
        world.neighbours_go_on()


def _take_all(postgres: OwnPostgres, held: "list[psycopg.Connection]") -> None:
    refused = 0
    while refused < 20:
        try:
            held.append(psycopg.connect(postgres.url, autocommit=True))
        except psycopg.OperationalError:
            refused += 1
            time.sleep(0.02)  # who was ended a moment ago may still count


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "amends", str(disk)], check=False).returncode != 0:
        pytest.skip("a disk that can be filled needs the right to mount one")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.slow
def test_a_full_disk_is_waited_out(
    small_disk: Path, tmp_path: Path, kafka_bootstrap_servers: str, topic_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = ("min_wal_size=32MB", "max_wal_size=48MB", "wal_keep_size=0")
    with (
        own_postgres(small_disk / "data", *settings) as postgres,
        at_work_on(postgres.url, kafka_bootstrap_servers, topic_prefix) as world,
    ):
        insistently(world, "p")
        world.eventually(lambda: world.paid("p") == 1, "it waits for its message")
        world.client.start(hungry, str(tmp_path / "enough"), id="hungry")
        world.eventually(lambda: world.turns("hungry") > 2, "somebody writes as the disk becomes full")
        ballast = small_disk / "ballast"
        _fill(ballast)
        world.eventually(lambda: _refuses(postgres), "no row finds a place", 60)
        with pytest.raises((psycopg.Error, DependencyError)):
            for n in range(10_000):  # WAL that is there already takes some
                world.client.start(two_payments, "x" * 100_000, id=f"too-much-{n}")
        said = ("No space left", "the database session was lost")
        world.eventually(lambda: any(words in caplog.text for words in said), "the orchestrator says so", 60)
        ballast.unlink()
        (tmp_path / "enough").touch()
        postgres.start()  # If it had to give up: a full disk under its WAL is the end of it.
        insistently(world, "q")
        finish(world, "p", "q")
        assert world.client.result(hungry, "hungry", timeout=deadline(90)) == "enough"
        world.neighbours_go_on()


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 1024 * 1024)
    with path.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 512)


def _refuses(postgres: OwnPostgres) -> bool:
    """Whether a table can't grow any more. (WAL that is there already takes some rows.)"""
    if postgres.ended:
        return True
    try:
        with psycopg.connect(postgres.url, autocommit=True, connect_timeout=2) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS filler (x text)")
            connection.execute("INSERT INTO filler SELECT repeat(n::text, 1000) FROM generate_series(1, 20000) n")
    except psycopg.Error:
        return True
    return False


def _sql(postgres: OwnPostgres, statement: str) -> None:
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(statement.encode())
