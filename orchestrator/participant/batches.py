"""Runs many items in one transaction, and finds the one that spoils it.

An exception of an item rolls everything back: what came before it is run again and commits, the item is run alone, what
came after it follows. Alone and raising again, its exception is handed in as the verdict, to be stored as its answer.
What fails at the end of the transaction (a deferred constraint, a row that the outbox refuses) blames nobody, so the
batch is halved until it does. A serialization failure or a deadlock of our own transaction is run again as it was.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

from orchestrator.errors import AmendsError
from orchestrator.participant.connection import Lane, Place, is_conflict, is_connection_loss, until_connected
from orchestrator.participant.external import Call
from orchestrator.participant.service import LOG, Service
from orchestrator.participant.unit import Unit
from outbox_relay.errors import TopicUnknown

CONFLICTS_MAX = 20
CONFLICT_FIRST_DELAY_S = 0.005
CONFLICT_MAX_DELAY_S = 0.5

_I = TypeVar("_I")
_I_contra = TypeVar("_I_contra", contravariant=True)


class Work(Protocol[_I_contra]):
    """What is done with items, inside a transaction."""

    @property
    def place(self) -> Place:
        """The name of that transaction."""

    async def lock(self, unit: Unit, items: Sequence[_I_contra], verdict: Exception | None, /) -> None:
        """Lock all rows that the items are about."""

    async def apply(self, unit: Unit, item: _I_contra, verdict: Exception | None) -> None:
        """One item; `verdict` is the exception that it raised when it was alone."""

    async def give_up(self, item: _I_contra, error: Exception) -> None:
        """Not even the verdict could be stored."""

    def retries(self, item: _I_contra, error: Exception, /) -> bool:
        """Whether the item is kept for later instead of being judged now."""


class Culprit(Exception):
    """The item of this index raised."""

    def __init__(self, index: int, error: Exception) -> None:
        super().__init__(str(error))
        self.index = index
        self.error = error


class TooManyConflicts(AmendsError):
    """Our own transaction met serialization failures or deadlocks again and again."""


class Batches(Generic[_I]):
    """One lane's batches of one kind of work."""

    def __init__(self, service: Service, lane: Lane, work: Work[_I], begin: Callable[[Call], None]) -> None:
        self._service = service
        self._lane = lane
        self._work = work
        self._begin = begin

    async def run(self, items: Sequence[_I]) -> None:
        """Run all items, in order; returns when each is committed or given up. Waits for Postgres if it must."""
        parts = deque([list(items)])
        while parts:
            part = parts.popleft()
            try:
                await self._committed(part, None)
            except Exception as error:
                culprit = error if isinstance(error, Culprit) else None
                if len(part) == 1:
                    await self._judge(part[0], error if culprit is None else culprit.error)
                elif culprit is not None:
                    i = culprit.index
                    parts.extendleft(p for p in (part[i + 1 :], [part[i]], part[:i]) if p)
                else:
                    half = len(part) // 2
                    parts.extendleft((part[half:], part[:half]))

    async def _judge(self, item: _I, error: Exception) -> None:
        if self._work.retries(item, error):
            return
        try:
            await self._committed([item], error)
        except Exception as worse:
            cause = worse.error if isinstance(worse, Culprit) else worse
            LOG.error("%s: not even the outcome could be stored", self._service.name, exc_info=cause)
            await until_connected(lambda: self._work.give_up(item, cause), self._service.name)

    async def _committed(self, items: Sequence[_I], verdict: Exception | None) -> None:
        conflicts = 0
        refreshed = False
        while True:
            try:
                await until_connected(lambda: self._once(items, verdict), self._service.name)
                return
            except TopicUnknown:
                # A topic that was made since we looked.
                if refreshed:
                    raise
                refreshed = True
                await until_connected(lambda: self._service.topics.refresh(self._lane), self._service.name)
            except Exception as error:
                if not is_conflict(error):
                    raise
                conflicts += 1
                if conflicts > CONFLICTS_MAX:
                    raise TooManyConflicts(f"{conflicts} serialization failures or deadlocks in a row") from error
            if conflicts:
                delay_s = min(CONFLICT_FIRST_DELAY_S * 2**conflicts, CONFLICT_MAX_DELAY_S)
                await asyncio.sleep(delay_s * random.random())

    async def _once(self, items: Sequence[_I], verdict: Exception | None) -> None:
        async with self._lane.transaction(self._work.place, piped=True) as connection:
            unit = Unit(self._service, self._lane, connection)
            await self._work.lock(unit, items, verdict)
            for index, item in enumerate(items):
                try:
                    await self._work.apply(unit, item, verdict)
                except Exception as error:
                    if is_conflict(error) or (is_connection_loss(error) and connection.broken):
                        raise
                    raise Culprit(index, error) from error
            await unit.flush()
        self._service.counts.committed(unit.rows)
        for call in unit.calls:
            self._begin(call)


async def in_parts(items: Sequence[_I], size: int, run: Callable[[Sequence[_I]], Awaitable[None]]) -> None:
    """Run `items` in parts of at most `size`."""
    for i in range(0, len(items), size):
        await run(items[i : i + size])
