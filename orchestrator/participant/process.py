"""What one process of a participant does with Postgres and the outside; where its messages come from is `runner`'s."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import psycopg

from orchestrator import limits
from orchestrator.errors import DependencyError
from orchestrator.messaging.envelope import Envelope, Unreadable
from orchestrator.participant import inbox, inbox_events, scan
from orchestrator.participant.batches import Batches
from orchestrator.participant.breaker import BreakerState, SharedBreakers
from orchestrator.participant.calls import CALLS_WAITING_MAX, Calls
from orchestrator.participant.connection import Lane, until_connected
from orchestrator.participant.follow import Follower
from orchestrator.participant.outcomes import Ended
from orchestrator.participant.requests import Request, read
from orchestrator.participant.service import LOG, Service
from orchestrator.participant.unit import Unit
from orchestrator.participant.work import EndWork, RequestWork

DRAIN_S = 15.0
ENDS_BATCH_MAX = 100


class Process:
    """What a participant's process does with Postgres and the outside."""

    def __init__(self, service: Service, database_url: str) -> None:
        name = service.name
        self._service = service
        self._lanes = {
            lane: Lane(database_url, f"{name} {lane}")
            for lane in ("inbox", "ends", "scan", "events", "state", "breakers")
        }
        state = self._lanes["state"]
        # On a lane of their own: calls wait for a look at the table, and renewals wait for locked rows.
        self._breakers = SharedBreakers(service.participant.breakers(), name, self._lanes["breakers"])
        service.breaker_of = lambda options: self._breakers.get(options.breaker)
        self._ends: asyncio.Queue[Ended] = asyncio.Queue()
        self._storing = 0
        self._later: set[asyncio.TimerHandle] = set()
        self._calls = Calls(service, state, self._ends.put_nowait)
        self._requests = Batches[Request](
            service, self._lanes["inbox"], RequestWork(self._lanes["inbox"], name), self._calls.start
        )
        self._stored_ends = Batches[Ended](service, self._lanes["ends"], EndWork(self._again), self._calls.start)
        self._follower = Follower(service, self._lanes["events"]) if service.participant.event_handlers else None
        self._event_topics = service.event_topics

    async def prepare(self) -> None:
        """The tables are there, and what they say is known. Raises DependencyError to a login without the rights."""
        name = self._service.name
        try:
            await until_connected(lambda: self._service.topics.refresh(self._lanes["state"]), name)
            await until_connected(self._breakers.declare, name)
        except psycopg.errors.InsufficientPrivilege as error:
            raise DependencyError(
                f"{name}: {error.diag.message_primary}. A participant logs in under the role `participant`: "
                "docs/operations/roles.md"
            ) from error

    def background(self) -> list[Any]:
        """Coroutines that run until they are cancelled."""
        tasks = [self._store_ends(), self._scan(), self._purge(), self._calls.keep_waiting()]
        if self._follower is not None:
            tasks.append(self._follower.run())
        if any(True for _ in self._service.participant.breakers()):
            tasks.append(self._breakers.keep_fresh())
        return tasks

    @property
    def calls_waiting(self) -> int:
        """Calls out that have no place yet."""
        return self._calls.waiting

    @property
    def calls_in_flight(self) -> int:
        """Calls that are out."""
        return max(0, self._calls.under_way - self._calls.waiting)

    def breaker_states(self) -> dict[str, BreakerState]:
        """As far as this process knows, by name."""
        return self._breakers.states()

    def is_full(self) -> bool:
        """Too many calls wait for a place: leave the rest in Kafka."""
        return self._calls.waiting >= CALLS_WAITING_MAX

    async def handle(self, messages: Sequence[Envelope | Unreadable]) -> None:
        """Returns when all of them are committed, in one way or another.

        Raises avro.SchemaPending before anything is done about any of them.
        """
        participant = self._service.participant
        found = (read(message, participant, self._event_topics) for message in messages)
        requests = [request for request in found if request is not None]
        if requests:
            await self._requests.run(requests)
        if self._follower is not None:
            self._follower.ring()

    async def drain(self) -> None:
        """Let what is out come to its end, and store it."""
        end_by = time.monotonic() + DRAIN_S
        if self._follower is not None:
            await self._follower.drain(DRAIN_S)
        await self._calls.drain(end_by - time.monotonic())
        while (self._ends.qsize() or self._storing) and time.monotonic() < end_by + 5:
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        for handle in self._later:
            handle.cancel()
        for lane in self._lanes.values():
            await lane.close()

    def _again(self, ended: Ended, pause_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._later.add(loop.call_later(pause_s, self._ends.put_nowait, ended))
        self._later = {handle for handle in self._later if handle.when() > loop.time()}

    async def _store_ends(self) -> None:
        while True:
            ended = [await self._ends.get()]
            self._storing = 1
            while len(ended) < ENDS_BATCH_MAX and not self._ends.empty():
                ended.append(self._ends.get_nowait())
            try:
                await self._stored_ends.run(ended)
            finally:
                self._storing = 0

    async def _scan(self) -> None:
        while True:
            found = await self._surviving(self._scan_once, "the scan of due rows")
            if not found:
                await asyncio.sleep(scan.SCAN_S)

    async def _scan_once(self) -> int:
        lane = self._lanes["scan"]
        async with lane.transaction("scan", piped=True) as connection:
            unit = Unit(self._service, lane, connection)
            due = await unit.lock_due(scan.SCAN_ROWS_MAX)
            for entry in due:
                await scan.apply_due(unit, entry)
            await unit.flush()
        self._service.counts.committed(unit.rows)
        for call in unit.calls:
            self._calls.start(call)
        return len(due)

    async def _purge(self) -> None:
        while True:
            await self._surviving(self._purge_once, "the purge")
            await asyncio.sleep(scan.PURGE_S)

    async def _purge_once(self) -> int:
        async with self._lanes["scan"].transaction("purge") as connection:
            rows = await inbox.purge(connection, scan.PURGE_ROWS_MAX)
            return rows + await inbox_events.purge(connection, limits.INBOX_HORIZON_S, scan.PURGE_ROWS_MAX)

    async def _surviving(self, once: Callable[[], Awaitable[int]], what: str) -> int:
        try:
            return await until_connected(once, self._service.name)
        except Exception:
            LOG.exception("%s: %s failed; it is tried again", self._service.name, what)
            return 0
