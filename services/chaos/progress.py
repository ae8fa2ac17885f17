"""Who has moved since a fault, and who stands still: asked from the databases, past all links.

It is not enough that something moves: where the peers of somebody who hangs do his work, nobody would notice. So every
shard has to advance, every service has to take something new, and both orchestrators have to own shards.
"""

import asyncio
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg.rows import TupleRow

from services.chaos.schedule import ORCHESTRATORS, SERVICES
from services.demo.shop import Shop
from services.demo.world import World

CONNECT_TIMEOUT_S = 3
ASK_AGAIN_S = 0.1
LOOK_S = 0.1
ENDED: LiteralString = "SELECT count(*) FROM amends.sagas WHERE ended_at IS NOT NULL"
POSITIONS: LiteralString = """
    SELECT s.saga_no, max(j.pos) FROM amends.sagas s JOIN amends.journal j USING (saga_no)
    WHERE s.status IN ('queued', 'running', 'compensating', 'stuck', 'blocked') GROUP BY s.saga_no
"""
NEWEST: LiteralString = "SELECT coalesce(max(saga_no), 0) FROM amends.sagas"
MOVED_SHARDS: LiteralString = """
    SELECT s.shard FROM unnest(%s::bigint[], %s::int[]) AS known(saga_no, pos)
    JOIN amends.journal j ON j.saga_no = known.saga_no AND j.pos > known.pos
    JOIN amends.sagas s ON s.saga_no = known.saga_no
    UNION SELECT shard FROM amends.sagas WHERE saga_no > %s
"""
SHARDS: LiteralString = "SELECT shard FROM amends.shards"
OWNERS: LiteralString = "SELECT DISTINCT w.pid FROM amends.shards s JOIN amends.workers w USING (worker)"
NOW: LiteralString = "SELECT clock_timestamp()"
TAKEN: LiteralString = """
    SELECT EXISTS (SELECT FROM amends.inbox WHERE updated_at > %s)
        OR EXISTS (SELECT FROM amends.inbox_events WHERE arrival > %s)
"""
ARRIVED: LiteralString = "SELECT coalesce(max(arrival), 0) FROM amends.inbox_events"


class Watcher:
    """Connections that are made again whenever they are lost: what is watched here is cut all the time."""

    def __init__(self, world: World) -> None:
        self._urls = world.urls
        self._open: dict[str, psycopg.AsyncConnection[TupleRow]] = {}
        self._asking = asyncio.Lock()

    async def ask(self, of: str, statement: LiteralString, params: Sequence[Any] = ()) -> list[TupleRow]:
        """Rows of one database, as soon as it answers."""
        while True:
            try:
                async with self._asking:
                    connection = await self._connection(of)
                    return await (await connection.execute(statement, params)).fetchall()
            except psycopg.OperationalError:
                await asyncio.sleep(ASK_AGAIN_S)

    async def close(self) -> None:
        """Close all connections."""
        for connection in self._open.values():
            await connection.close()

    async def _connection(self, of: str) -> psycopg.AsyncConnection[TupleRow]:
        found = self._open.get(of)
        if found is None or found.closed:
            connect = psycopg.AsyncConnection.connect
            found = await connect(self._urls[of], autocommit=True, connect_timeout=CONNECT_TIMEOUT_S)
            self._open[of] = found
        return found


@dataclass(frozen=True, slots=True)
class Mark:
    """Where everybody was at one moment. `positions`: saga_no -> position of the open sagas."""

    at_s: float
    shards: frozenset[int]
    newest_saga: int
    positions: dict[int, int]
    services: dict[str, tuple[Any, int]]


@dataclass(slots=True)
class Standing:
    """Who has not moved yet since a mark; `first_s` is when the first saga had."""

    shards: set[int]
    services: set[str]
    orchestrators: set[str]
    first_s: float | None = None

    def __bool__(self) -> bool:
        return bool(self.shards or self.services or self.orchestrators)

    def __str__(self) -> str:
        shards = [f"shards {', '.join(map(str, sorted(self.shards)))}"] if self.shards else []
        idle = [f"{name}, which owns no shard" for name in sorted(self.orchestrators)]
        return "; ".join([*shards, *sorted(self.services), *idle])


class Progress:
    """Marks, and what has moved since."""

    def __init__(self, watcher: Watcher, shop: Shop) -> None:
        self._watcher = watcher
        self._shop = shop

    async def mark(self, began_s: float) -> Mark:
        """Note where everybody is. `began_s`: what the seconds of recovery are counted from, in monotonic time."""
        ask = self._watcher.ask
        services = {name: ((await ask(name, NOW))[0][0], (await ask(name, ARRIVED))[0][0]) for name in SERVICES}
        return Mark(
            began_s,
            frozenset(shard for (shard,) in await ask("orchestrator", SHARDS)),
            (await ask("orchestrator", NEWEST))[0][0],
            dict(await ask("orchestrator", POSITIONS)),
            services,
        )

    async def all_moved(self, mark: Mark, standing: Standing) -> float:
        """Wait until nobody in `standing` stands still; return the seconds since the mark. Has no end of its own."""
        while True:
            await self._look(mark, standing)
            if not standing:
                return time.monotonic() - mark.at_s
            await asyncio.sleep(LOOK_S)

    def standing(self, mark: Mark, but: Collection[str] = ()) -> Standing:
        """Everybody, but for those that are meant to be dead."""
        return Standing(set(mark.shards), set(SERVICES) - {*but}, set(ORCHESTRATORS) - {*but})

    async def _look(self, mark: Mark, standing: Standing) -> None:
        known, positions = list(mark.positions), list(mark.positions.values())
        ask = self._watcher.ask
        moved = {row[0] for row in await ask("orchestrator", MOVED_SHARDS, (known, positions, mark.newest_saga))}
        if moved and standing.first_s is None:
            standing.first_s = time.monotonic() - mark.at_s
        standing.shards -= moved
        owners = {row[0] for row in await ask("orchestrator", OWNERS)}
        standing.orchestrators -= {name for name in standing.orchestrators if self._shop.pid(name) in owners}
        for name in sorted(standing.services):
            if (await ask(name, TAKEN, mark.services[name]))[0][0]:
                standing.services.discard(name)
