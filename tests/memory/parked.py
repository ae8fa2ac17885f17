"""How much memory an orchestrator needs for sagas that wait: started, parked, evicted, and some of them woken.

    python -m tests.memory 100000

A script and no test at that size: it takes minutes. `test_parked.py` runs the same with fewer. The servers are those of
DATABASE_URL and KAFKA_BOOTSTRAP_SERVERS, or are started for it.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg

from orchestrator import App, Message, Saga, SyncClient, saga
from orchestrator.canonical import canonical_json, input_hash
from orchestrator.messaging import control
from orchestrator.messaging.topics import Topics
from outbox_relay.rows import murmur2
from tests.deadlines import eventually
from tests.integration.engine import kit

STARTED_AT_ONCE = 1_000
START = """
    SELECT count(amends.start_saga(t.id, t.uid, 'parked', 1, t.input, t.hash, t.shard, %s, t.payload, NULL))
    FROM unnest(%s::text[], %s::uuid[], %s::text[], %s::bytea[], %s::int[], %s::bytea[])
        AS t(id, uid, input, hash, shard, payload)
"""
WOKEN = 200
RSS_MB_MAX = 600  # at 100,000 sagas


class WakeUp(Message):
    word: str


@saga
async def parked(s: Saga, n: int) -> str:
    """It has something on its stack, and waits."""
    facts = [f"{n} {m}" for m in range(10)]
    woken = await s.receive(WakeUp)
    return f"{woken.word} {facts[-1]}"


app = App(sagas=[parked])


@dataclass(frozen=True, slots=True)
class Figures:
    """`peak_mb` is the largest resident size that the process ever had, sagas' ends included."""

    sagas: int
    start_s: float
    parked_mb: float
    wake_s: float
    peak_mb: float

    def __str__(self) -> str:
        return (
            f"{self.sagas} sagas parked in {self.start_s:.0f} s: {self.parked_mb:.0f} MB; {WOKEN} of them woken in "
            f"{self.wake_s:.1f} s; at most {self.peak_mb:.0f} MB"
        )


def measure(system: kit.System, count: int) -> Figures:
    """One orchestrator process, `count` sagas. Raises if one of the woken does not end as it should."""
    process = system.orchestrator_process(app="tests.memory.parked:app")
    with relaying(system), SyncClient(system.settings) as client:
        began_s = time.monotonic()
        start(system, count)
        waiting = "SELECT count(*)::int FROM amends.journal WHERE pos = 0"
        eventually(lambda: system.rows(waiting) == [(count,)], 60 + count / 100, f"{count} sagas that wait")
        start_s, parked_mb = time.monotonic() - began_s, resident_mb(process.pid, "VmRSS")
        began_s = time.monotonic()
        chosen = range(0, count, max(1, count // WOKEN))  # the oldest too, whose coroutines went long ago
        for n in chosen:
            client.send(f"parked-{n}", WakeUp(word="woken"))
        for n in chosen:
            assert client.result(parked, f"parked-{n}", timeout=120) == f"woken {n} 9"
        return Figures(count, start_s, parked_mb, time.monotonic() - began_s, resident_mb(process.pid, "VmHWM"))


@contextmanager
def relaying(system: kit.System) -> Iterator[None]:
    stop = system.relay()
    yield
    stop()


def start(system: kit.System, count: int) -> None:
    """Many in one statement, as a client's start does each: what is measured is not the client."""
    topic = Topics(system.settings.topic_prefix).sagas
    with psycopg.connect(system.url, autocommit=True) as connection:
        for first in range(0, count, STARTED_AT_ONCE):
            rows = [start_params(n) for n in range(first, min(first + STARTED_AT_ONCE, count))]
            connection.execute(START, (topic, *[list(column) for column in zip(*rows, strict=True)]))


def start_params(n: int) -> tuple[str, str, str, bytes, int, bytes]:
    """Id, uid, input, its hash, shard, and the message."""
    id, uid, given = f"parked-{n}", str(uuid4()), canonical_json(n)
    payload = control.Start(uid=uid, type=parked.name, version=1, input=given).encode()
    return id, uid, given, input_hash(parked.name, given), murmur2(id.encode()) % kit.SHARDS, payload


def resident_mb(pid: int, what: str) -> float:
    """VmRSS: now. VmHWM: at most, ever. Linux only."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"/proc/{pid}/status has no {what}")
