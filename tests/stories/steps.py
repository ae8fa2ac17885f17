"""A participant whose processes are run step by step, so that one can die or stand still between any two of them.

What a step does is the product's: requests are read and applied under the inbox's locks, a call is made as its process
would make it, its end is stored. What the test leaves out is what a dead process leaves out; a call that is made late
was made by a stopped one.
"""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

from orchestrator.participant import Participant, inbox, scan
from orchestrator.participant.connection import Lane
from orchestrator.participant.external import Call
from orchestrator.participant.outcomes import Ended
from orchestrator.participant.outside import outcome_of
from orchestrator.participant.requests import read
from orchestrator.participant.service import Service
from orchestrator.participant.unit import Unit
from orchestrator.participant.work import EndWork, RequestWork
from outbox_relay import Row
from tests.integration.participant.desk import envelope_of


class Steps:
    def __init__(self, participant: Participant[Any], url: str) -> None:
        participant.check()
        self._service = Service(participant)
        self._lane = Lane(url, "story")

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        participant = self._service.participant
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._lane.close)
            await self._service.topics.refresh(self._lane)
            if participant.lifespan is not None:
                self._service.deps = await stack.enter_async_context(participant.lifespan())
            yield

    async def take(self, *rows: Row, age_s: float = 0.0) -> list[Call]:
        """Take messages, commit, and return the calls that are to be made now."""
        found = [read(envelope_of(row, age_s=age_s), self._service.participant, frozenset()) for row in rows]
        requests = [request for request in found if request is not None]
        work = RequestWork(self._lane, self._service.name)
        async with self._lane.transaction() as connection:
            unit = Unit(self._service, self._lane, connection)
            await work.lock(unit, requests, None)
            for request in requests:
                await work.apply(unit, request, None)
            await unit.flush()
        return unit.calls

    async def scan(self) -> list[Call]:
        """Look after the rows whose time has come."""
        async with self._lane.transaction() as connection:
            unit = Unit(self._service, self._lane, connection)
            for entry in await unit.lock_due(10):
                await scan.apply_due(unit, entry)
            await unit.flush()
        return unit.calls

    async def make(self, call: Call) -> Ended:
        """Go outside."""
        return Ended(call, await outcome_of(self._service, call))

    async def store(self, ended: Ended) -> list[Call]:
        """Store how a call ended, and return the calls that follow."""
        work = EndWork(lambda _ended, _pause_s: None)
        async with self._lane.transaction() as connection:
            unit = Unit(self._service, self._lane, connection)
            await work.lock(unit, [ended], None)
            await work.apply(unit, ended, None)
            await unit.flush()
        return unit.calls

    async def finish(self, calls: list[Call]) -> None:
        """Make calls, store their ends, and so on until nothing follows."""
        while calls:
            calls = [more for call in calls for more in await self.store(await self.make(call))]

    async def purge(self) -> int:
        """Delete the rows that nothing can ask for any more; how many."""
        async with self._lane.transaction() as connection:
            return await inbox.purge(connection, 10)

    async def deadlines_pass(self) -> None:
        """All that is due some time is due now."""
        await self._lane.execute("""
            UPDATE amends.inbox SET due_at = clock_timestamp() - interval '1 ms',
                deadline = CASE WHEN deadline IS NOT NULL THEN clock_timestamp() - interval '1 ms' END
            WHERE due_at IS NOT NULL
        """)

    async def quiet(self) -> None:
        """The gateway's longest delay is over: no request is on its way any more."""
        await self._lane.execute("UPDATE amends.inbox SET quiet_at = clock_timestamp() - interval '1 ms'")

    async def expire(self) -> None:
        """All that was sent under the keys here has expired."""
        await self._lane.execute("UPDATE amends.inbox SET expires_at = clock_timestamp() - interval '1 ms'")


def past_its_deadline(call: Call) -> Call:
    """The call of a process that was stopped before it made it, and wakes up now."""
    return replace(call, give_up_at=time.monotonic() - 0.001)
