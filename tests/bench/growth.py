"""What many open sagas cost the others: the rate of remote steps beside 2,000 that wait, and beside 20,000."""

import asyncio

import psycopg

from orchestrator import Client
from tests.bench.installation import Installation
from tests.bench.program import PAYLOAD, remote, waiting
from tests.bench.rates import through
from tests.deadlines import eventually

FEW, MANY = 2_000, 20_000
MEASURED = 2_000
STARTED_AT_ONCE = 1_000
PARKED = "SELECT count(*) FROM amends.sagas WHERE type = 'bench-waiting' AND status = 'running'"


def growth(place: Installation) -> dict[str, float]:
    """Both rates in one installation, one after the other."""
    place.relay()
    place.participant()
    place.orchestrator()
    few_s = _seconds_beside(place, 0, FEW)
    many_s = _seconds_beside(place, FEW, MANY)
    return {"growth_20000_ratio": few_s / many_s}


def _seconds_beside(place: Installation, there: int, count: int) -> float:
    asyncio.run(_park(place, there, count))
    eventually(lambda: place.row(PARKED)[0] == count, 120, f"{count} wait")
    run = asyncio.run(through(place, remote, MEASURED, prefix=f"beside-{count}-"))
    print(f"   beside {count}: {MEASURED} sagas in {run.seconds:.2f} s", flush=True)
    return run.seconds


async def _park(place: Installation, first: int, end: int) -> None:
    async with Client(place.settings) as client, await psycopg.AsyncConnection.connect(place.url) as connection:
        for n in range(first, end):
            await client.start(waiting, PAYLOAD, id=f"waiting-{n}", connection=connection)
            if n % STARTED_AT_ONCE == 0:
                await connection.commit()
