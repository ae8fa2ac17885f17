"""Databases with an outbox, writers that keep their keys' order, a reader that checks it, relays to start and end."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from outbox_relay import Relay, Row, table, topics
from tests import roles
from tests.deadlines import deadline, eventually
from tests.roles import as_role

ROOT = Path(__file__).parents[3]
SQL = sorted((ROOT / "outbox_relay" / "sql").glob("*.sql"))
PARTITIONS = 4
KEYS = 24


def install(url: str) -> None:
    """Make the tables of an outbox, and one that hands out the next number of a key under its row lock."""
    with psycopg.connect(url) as connection:
        for file in SQL:
            connection.execute(file.read_text())
        connection.execute("CREATE TABLE numbers (key text PRIMARY KEY, next int NOT NULL DEFAULT 0)")
        connection.execute("INSERT INTO numbers (key) SELECT 'key-' || n FROM generate_series(0, %s) n", [KEYS - 1])
    roles.grant(url)


@dataclass(frozen=True)
class Place:
    """A database with an outbox, and a Kafka."""

    url: str
    kafka: str
    prefix: str

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.url, autocommit=True)

    def topic(self, name: str, **config: str) -> str:
        """Make a topic and tell the database of it."""
        full = self.prefix + name
        admin = AdminClient({"bootstrap.servers": self.kafka})
        new = NewTopic(full, num_partitions=PARTITIONS, replication_factor=1, config=config)
        admin.create_topics([new])[full].result(deadline(20))
        self.tell(full)
        return full

    def tell(self, full: str) -> None:
        with self.connect() as connection:
            connection.execute(topics.UPSERT, topics.upsert_params({full: topics.Topic(full, PARTITIONS)}))

    def delete_topic(self, full: str) -> None:
        admin = AdminClient({"bootstrap.servers": self.kafka})
        admin.delete_topics([full])[full].result(deadline(20))

    def add(self, *rows: Row) -> None:
        with self.connect() as connection:
            connection.execute(table.INSERT_MANY, table.insert_params(rows, lambda _: PARTITIONS))

    def count(self, table_name: str = "outbox", where: str = "true") -> int:
        with self.connect() as connection:
            return connection.execute(f"SELECT count(*) FROM amends.{table_name} WHERE {where}").fetchone()[0]

    def lease(self) -> tuple[int, str | None, str, dict]:
        """Epoch, name of the holder, state, health."""
        with self.connect() as connection:
            return connection.execute(
                "SELECT epoch, CASE WHEN holder IS NOT NULL THEN name END, state, health FROM amends.relay_lease"
            ).fetchone()

    def state(self) -> str:
        return self.lease()[2]

    def slot(self) -> tuple | None:
        with self.connect() as connection:
            return connection.execute(
                "SELECT slot_name, active_pid, confirmed_flush_lsn, pg_current_wal_lsn() - restart_lsn "
                "FROM pg_replication_slots WHERE database = current_database()"
            ).fetchone()

    def await_confirmed(self, seconds: float = 20) -> None:
        """Of the WAL that there is now the slot keeps nothing: it is confirmed up to here. Others may write more."""
        with self.connect() as connection:
            [(now,)] = connection.execute("SELECT pg_current_wal_lsn()").fetchall()
            confirmed = (
                "SELECT confirmed_flush_lsn >= %s::pg_lsn FROM pg_replication_slots WHERE database = current_database()"
            )
            eventually(lambda: connection.execute(confirmed, [now]).fetchone() == (True,), seconds, "it is confirmed")

    def await_state(self, state: str, seconds: float = 20) -> None:
        eventually(lambda: self.state() == state, seconds, f"the relay is {state}")

    def await_empty(self, seconds: float = 30) -> None:
        eventually(lambda: self.count() == 0, seconds, "every row was sent and deleted")


def row(topic: str, key: str, payload: bytes, **headers: str) -> Row:
    return Row(topic=topic, key=key, type="Counted", payload=payload, headers={"kind": "command", **headers})


@dataclass
class Writers:
    """Threads that add numbered rows. A key is written by several of them, one after the other under its lock."""

    place: Place
    topic: str
    count: int
    seed: int = 7
    pause_s: float = 0.0
    _threads: list[threading.Thread] = field(default_factory=list)
    _errors: list[BaseException] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        self._threads = [threading.Thread(target=self._write, args=(n,)) for n in range(self.count)]
        for thread in self._threads:
            thread.start()

    def finish(self) -> dict[str, int]:
        """Stop; return how many numbers of each key were committed."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        assert not self._errors, self._errors
        with self.place.connect() as connection:
            return dict(connection.execute("SELECT key, next FROM numbers WHERE next > 0").fetchall())

    @contextmanager
    def running(self) -> Iterator["Writers"]:
        self.start()
        try:
            yield self
        finally:
            self._stop.set()

    def _write(self, number: int) -> None:
        dice = random.Random(self.seed * 100 + number)
        try:
            with psycopg.connect(self.place.url) as connection:
                while not self._stop.is_set():
                    self._transaction(connection, dice)
                    self._stop.wait(self.pause_s or dice.random() * 0.004)
        except BaseException as error:
            self._errors.append(error)

    def _transaction(self, connection: psycopg.Connection, dice: random.Random) -> None:
        # Sorted, so that two writers can't wait for each other; seq numbers of different keys interleave all the same.
        for key in sorted(f"key-{n}" for n in dice.sample(range(KEYS), dice.randint(1, 3))):
            count = dice.randint(1, 5)
            [(after,)] = connection.execute(
                "UPDATE numbers SET next = next + %s WHERE key = %s RETURNING next", [count, key]
            ).fetchall()
            rows = [row(self.topic, key, b"%d" % n) for n in range(after - count, after)]
            connection.execute(table.INSERT_MANY, table.insert_params(rows, lambda _: PARTITIONS))
            if dice.random() < 0.1:
                self._stop.wait(dice.random() * 0.05)  # a transaction that is overtaken by others
        connection.rollback() if dice.random() < 0.1 else connection.commit()


class Reader:
    """Reads a topic from its beginning: first publications, and how often one came again."""

    def __init__(self, place: Place, topic: str) -> None:
        self._consumer = Consumer(
            {"bootstrap.servers": place.kafka, "group.id": topic, "enable.auto.commit": False, "fetch.wait.max.ms": 50}
        )
        self._consumer.assign([TopicPartition(topic, n, 0) for n in range(PARTITIONS)])
        self.firsts: dict[str, list[int]] = {}
        self.messages: list = []
        self.doubles = 0
        self._seen: set[tuple[str, int]] = set()

    def close(self) -> None:
        self._consumer.close()

    def read(self, timeout_s: float = 0.1) -> int:
        """Read what is there; return how many different ones have come so far."""
        for message in self._consumer.consume(1000, timeout_s):
            assert message.error() is None, message.error()
            self.messages.append(message)
            key, number = message.key().decode(), message.value()
            if not number.isdigit():
                continue
            if (key, int(number)) in self._seen:
                self.doubles += 1
                continue
            self._seen.add((key, int(number)))
            self.firsts.setdefault(key, []).append(int(number))
        return len(self._seen)

    def await_numbers(self, written: dict[str, int], seconds: float = 30) -> None:
        """Wait until every number of every key has come, and check that each came first in its place."""
        wanted = sum(written.values())
        eventually(lambda: self.read() >= wanted, seconds, f"{wanted} different messages")
        came = {key: list(range(count)) for key, count in written.items()}
        assert self.firsts == came, f"{self.firsts} and not {came}"

    def await_values(self, values: Sequence[bytes], seconds: float = 20) -> None:
        eventually(lambda: self.read() is not None and self.values() >= set(values), seconds, f"messages {values}")

    def values(self) -> set[bytes]:
        return {message.value() for message in self.messages}


@contextmanager
def reading(place: Place, topic: str) -> Iterator[Reader]:
    reader = Reader(place, topic)
    try:
        yield reader
    finally:
        reader.close()


@contextmanager
def running(*relays: Relay) -> Iterator[None]:
    """Run relays in this process, on an event loop of their own; whatever ends one is raised here."""
    stop: asyncio.Event | None = None
    loop = asyncio.new_event_loop()

    async def run() -> None:
        nonlocal stop
        stop = asyncio.Event()
        started.set()
        await asyncio.gather(*(relay.run(stop) for relay in relays))

    errors: list[BaseException] = []

    def thread() -> None:
        try:
            loop.run_until_complete(run())
        except BaseException as error:
            errors.append(error)

    started = threading.Event()
    runner = threading.Thread(target=thread)
    runner.start()
    started.wait()
    try:
        yield
    finally:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(stop.set)
        runner.join(deadline(30))
        assert not runner.is_alive(), "the relay did not stop"
        loop.close()
    assert not errors, errors


def relay(place: Place, mode: str = "cdc", **more: object) -> Relay:
    return Relay(database_url=as_role(place.url, "relay"), kafka_bootstrap_servers=place.kafka, mode=mode, **more)


class RelayProcess:
    """A relay that can be killed and frozen, by us or by a failpoint of its own."""

    def __init__(self, mode: str, name: str, *places: Place, failpoints: str = "") -> None:
        program = ROOT / "tests/integration/relay/relay_process.py"
        urls = [as_role(place.url, "relay") for place in places]
        argv = [sys.executable, str(program), mode, name, places[0].kafka, *urls]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "AMENDS_FAILPOINTS": failpoints}
        self._child = subprocess.Popen(argv, env=environment, cwd=ROOT)

    def signal(self, number: signal.Signals) -> None:
        self._child.send_signal(number)

    def kill(self) -> None:
        self._child.kill()
        self._child.wait()

    def stop(self) -> None:
        """SIGTERM, and it must have ended in order."""
        self._child.terminate()
        assert self._child.wait(deadline(20)) == 0

    def alive(self) -> bool:
        return self._child.poll() is None

    def await_death(self, seconds: float = 20) -> None:
        """It was armed: SIGKILL, by its own hand."""
        eventually(lambda: not self.alive(), seconds, "the relay kills itself")
        assert self._child.returncode == -signal.SIGKILL


@contextmanager
def process(mode: str, name: str, *places: Place, failpoints: str = "") -> Iterator[RelayProcess]:
    child = RelayProcess(mode, name, *places, failpoints=failpoints)
    try:
        yield child
    finally:
        if child.alive():
            child.signal(signal.SIGCONT)
            child.kill()


def wait(seconds: float) -> None:
    """Let the writers go on for a while: a duration of load, not a wait for a state."""
    time.sleep(seconds)
