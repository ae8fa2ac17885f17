"""An orchestrator dies, stands still, or is stopped as planned, in the middle of 500 sagas: until its shards go on.

"Goes on" is a new row in the journal of a saga of these shards: a claim alone counts for nothing.
"""

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from orchestrator import Client
from tests.bench.installation import Installation
from tests.bench.program import PAYLOAD, busy
from tests.deadlines import deadline, eventually

SAGAS = 500
BEGUN = 4 * SAGAS  # turns in the journal before anything happens
POLL_S = 0.002
GAP_SEEN_FOR_S = 3.0
ON_ITS_WAY_S = 0.1  # a COMMIT that Postgres had already got from who stands still now
TURNS = "SELECT count(*) FROM amends.journal"
TURNS_OF = "SELECT count(*) FROM amends.journal j JOIN amends.sagas s USING (saga_no) WHERE s.shard = ANY(%s)"
SHARDS_OF = "SELECT array_agg(shard) FROM amends.shards JOIN amends.workers USING (worker) WHERE name = %s"


def restart(place: Installation) -> dict[str, float]:
    """SIGKILL of the only one, and started again at once."""
    with _in_the_middle(place, "first") as looking:
        place.running["first"].kill()
        began_s = time.monotonic()
        place.spawn_orchestrator("again")
        return {"restart_s": _until_more(looking, _every_shard(place), began_s)}


def takeover(place: Installation) -> dict[str, float]:
    """SIGKILL of one of two."""
    with _in_the_middle(place, "first", "second") as looking:
        shards = place.row(SHARDS_OF, "first")[0]
        began_s = time.monotonic()
        place.running["first"].kill()
        return {"takeover_s": _until_more(looking, shards, began_s)}


def takeover_stopped(place: Installation) -> dict[str, float]:
    """SIGSTOP of one of two."""
    with _in_the_middle(place, "first", "second") as looking:
        shards = place.row(SHARDS_OF, "first")[0]
        began_s = time.monotonic()
        place.running["first"].send(signal.SIGSTOP)
        time.sleep(ON_ITS_WAY_S)
        return {"takeover_stopped_s": _until_more(looking, shards, began_s)}


def handover(place: Installation) -> dict[str, float]:
    """SIGTERM of one of two: the longest time in which none of its shards had a turn."""
    with _in_the_middle(place, "first", "second") as looking:
        shards = place.row(SHARDS_OF, "first")[0]
        place.running["first"].send(signal.SIGTERM)
        end_s = time.monotonic() + GAP_SEEN_FOR_S
        longest_s, turns, moved_s = 0.0, _turns(looking, shards), time.monotonic()
        while (now_s := time.monotonic()) < end_s:
            if (more := _turns(looking, shards)) > turns:
                turns, moved_s = more, now_s
            longest_s = max(longest_s, now_s - moved_s)
            time.sleep(POLL_S)
    return {"handover_gap_ms": longest_s * 1_000}


@contextmanager
def _in_the_middle(place: Installation, *orchestrators: str) -> Iterator[psycopg.Connection]:
    """The shards are shared out, and every saga has work under way."""
    place.relay()
    place.participant()
    for name in orchestrators:
        place.orchestrator(name)
    share = "SELECT count(DISTINCT worker) FROM amends.shards"
    eventually(lambda: place.row(share)[0] == len(orchestrators), 30, "each has its share of the shards")
    asyncio.run(_start_all(place))
    eventually(lambda: place.row(TURNS)[0] > BEGUN, 60, "the sagas are at work")
    with psycopg.connect(place.url, autocommit=True) as looking:
        _turns(looking, [0])
        yield looking


async def _start_all(place: Installation) -> None:
    async with Client(place.settings) as client, await psycopg.AsyncConnection.connect(place.url) as connection:
        for n in range(SAGAS):
            await client.start(busy, PAYLOAD, id=f"s{n}", connection=connection)


def _until_more(looking: psycopg.Connection, shards: list[int], began_s: float) -> float:
    before = _turns(looking, shards)
    while _turns(looking, shards) == before:
        assert time.monotonic() - began_s < deadline(60), "nobody went on"
        time.sleep(POLL_S)
    return time.monotonic() - began_s


def _turns(looking: psycopg.Connection, shards: list[int]) -> int:
    row = looking.execute(TURNS_OF, [shards]).fetchone()
    assert row is not None
    return int(row[0])


def _every_shard(place: Installation) -> list[int]:
    return list(place.row("SELECT array_agg(shard) FROM amends.shards")[0])
