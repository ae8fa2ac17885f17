"""How many steps a second, and what each costs: many sagas at once, from the first start to the last end.

Sagas are started as a service does that has many to start: some in each transaction of its own.
"""

import asyncio
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

from orchestrator import Client, SagaType
from tests.bench.cpu import cpu_seconds, used
from tests.bench.installation import Installation
from tests.bench.program import LOCAL_STEPS, PAYLOAD, REMOTE_STEPS, local, remote
from tests.deadlines import deadline

SAGAS = 2_000
STARTERS = 4  # connections that start sagas
STARTED_A_COMMIT = 50
POLL_S = 0.025
NEWEST = "SELECT coalesce(max(saga_no), 0) FROM amends.sagas"
# Whoever looks takes from what is looked at, so the sagas that only wait are not counted each time.
ENDED = "SELECT count(*) FROM amends.sagas WHERE saga_no > %s AND status = 'completed'"
JOURNAL_BYTES = "SELECT pg_total_relation_size('amends.journal')"
WAL_BYTES = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"


@dataclass(frozen=True, slots=True)
class Run:
    """`cpu` is by program; bytes are of the whole run, starts and ends included."""

    seconds: float
    starting_s: float
    cpu: dict[str, float]
    journal_bytes: int
    wal_bytes: int


def local_rate(place: Installation) -> dict[str, float]:
    """Five local steps a saga."""
    place.relay()
    place.orchestrator()
    run = asyncio.run(through(place, local, SAGAS))
    steps = SAGAS * LOCAL_STEPS
    explain("local", run, steps)
    return {
        "local_steps_per_s": steps / run.seconds,
        "local_cpu_s_per_1000": sum(run.cpu.values()) / steps * 1_000,
        "journal_bytes_per_step": run.journal_bytes / steps,
        "wal_bytes_per_step": run.wal_bytes / steps,
    }


def remote_rate(place: Installation) -> dict[str, float]:
    """Three commands a saga, each over Kafka to a participant with a database of its own, and back."""
    place.relay()
    place.participant()
    place.orchestrator()
    run = asyncio.run(through(place, remote, SAGAS))
    steps = SAGAS * REMOTE_STEPS
    explain("remote", run, steps)
    return {"remote_steps_per_s": steps / run.seconds}


async def through(place: Installation, saga: SagaType[str, str], count: int, prefix: str = "s") -> Run:
    """Start so many, and wait until all have ended."""
    connecting = psycopg.AsyncConnection.connect(place.url, autocommit=True)
    async with Client(place.settings) as client, await connecting as looking:
        await client.run(saga, PAYLOAD, id=f"{prefix}-first")  # connections, slots, groups
        newest = await _number(looking, NEWEST)
        journal_before, wal_before = [await _number(looking, sql) for sql in (JOURNAL_BYTES, WAL_BYTES)]
        cpu_before, began_s = cpu_seconds(), time.monotonic()
        numbers = iter(range(count))
        await asyncio.gather(*(_start_some(place, client, saga, prefix, numbers) for _ in range(STARTERS)))
        starting_s = time.monotonic() - began_s
        while (ended := await _number(looking, ENDED, newest)) < count:
            assert time.monotonic() - began_s < deadline(300), f"{ended} of {count} ended"
            await asyncio.sleep(POLL_S)
        seconds, cpu = time.monotonic() - began_s, used(cpu_before, cpu_seconds())
        journal, wal = [await _number(looking, sql) for sql in (JOURNAL_BYTES, WAL_BYTES)]
    return Run(seconds, starting_s, cpu, journal - journal_before, wal - wal_before)


async def _start_some(
    place: Installation, client: Client, saga: SagaType[str, str], prefix: str, numbers: Iterator[int]
) -> None:
    async with await psycopg.AsyncConnection.connect(place.url) as connection:
        while some := list(itertools.islice(numbers, STARTED_A_COMMIT)):
            for n in some:
                await client.start(saga, PAYLOAD, id=f"{prefix}{n}", connection=connection)
            await connection.commit()


async def _number(connection: psycopg.AsyncConnection[Any], sql: str, *params: int) -> int:
    row = await (await connection.execute(sql.encode(), params)).fetchone()
    assert row is not None
    return int(row[0])


def explain(what: str, run: Run, steps: int) -> None:
    """Where the CPU went, for who wants to mend it."""
    parts = ", ".join(f"{name} {spent:.2f}" for name, spent in sorted(run.cpu.items()) if spent >= 0.01)
    print(
        f"   {what}: {steps} steps in {run.seconds:.2f} s, started in {run.starting_s:.2f} s; CPU-s: {parts}",
        flush=True,
    )
