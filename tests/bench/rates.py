"""How many steps a second, and what each costs: many sagas at once, from the first start to the last end."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import psycopg

from orchestrator import Client
from orchestrator.client import Started
from tests.bench.cpu import cpu_seconds, used
from tests.bench.installation import Installation
from tests.bench.program import LOCAL_STEPS, PAYLOAD, REMOTE_STEPS, local, remote
from tests.deadlines import deadline

SAGAS = 2_000
STARTERS = 10  # the client's default number of connections
POLL_S = 0.01
ENDED = "SELECT count(*) FROM amends.sagas WHERE status = 'completed'"
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
    run = asyncio.run(through(place, lambda client, n: client.start(local, PAYLOAD, id=f"s{n}"), SAGAS))
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
    run = asyncio.run(through(place, lambda client, n: client.start(remote, PAYLOAD, id=f"s{n}"), SAGAS))
    steps = SAGAS * REMOTE_STEPS
    explain("remote", run, steps)
    return {"remote_steps_per_s": steps / run.seconds}


async def through(place: Installation, start: Callable[[Client, int], Coroutine[Any, Any, Started]], count: int) -> Run:
    """Start so many, and wait until all have ended."""
    connecting = psycopg.AsyncConnection.connect(place.url, autocommit=True)
    async with Client(place.settings) as client, await connecting as looking:
        already = await _number(looking, ENDED)
        await _warm(client, start, looking, already)
        journal_before, wal_before = [await _number(looking, sql) for sql in (JOURNAL_BYTES, WAL_BYTES)]
        cpu_before, began_s = cpu_seconds(), time.monotonic()
        numbers = iter(range(count))
        await asyncio.gather(*(_start_each(client, start, numbers) for _ in range(STARTERS)))
        starting_s = time.monotonic() - began_s
        while await _number(looking, ENDED) < already + STARTERS + count:
            assert time.monotonic() - began_s < deadline(300), f"{await _number(looking, ENDED)} of {count} ended"
            await asyncio.sleep(POLL_S)
        seconds, cpu = time.monotonic() - began_s, used(cpu_before, cpu_seconds())
        journal, wal = [await _number(looking, sql) for sql in (JOURNAL_BYTES, WAL_BYTES)]
    return Run(seconds, starting_s, cpu, journal - journal_before, wal - wal_before)


async def _start_each(
    client: Client, start: Callable[[Client, int], Coroutine[Any, Any, Started]], numbers: Any
) -> None:
    for n in numbers:
        await start(client, n)


async def _warm(
    client: Client,
    start: Callable[[Client, int], Coroutine[Any, Any, Started]],
    looking: psycopg.AsyncConnection[Any],
    already: int,
) -> None:
    """A few sagas first: connections, prepared statements, the relay's slots, the participant's group."""
    await asyncio.gather(*(start(client, -1 - n) for n in range(STARTERS)))
    while await _number(looking, ENDED) < already + STARTERS:
        await asyncio.sleep(POLL_S)


async def _number(connection: psycopg.AsyncConnection[Any], sql: str) -> int:
    row = await (await connection.execute(sql.encode())).fetchone()
    assert row is not None
    return int(row[0])


def explain(what: str, run: Run, steps: int) -> None:
    """Where the CPU went, for who wants to mend it."""
    parts = ", ".join(f"{name} {spent:.2f}" for name, spent in sorted(run.cpu.items()) if spent >= 0.01)
    print(
        f"   {what}: {steps} steps in {run.seconds:.2f} s, started in {run.starting_s:.2f} s; CPU-s: {parts}",
        flush=True,
    )
