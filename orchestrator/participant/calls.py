"""Makes the calls to the outside: concurrently, one at a time for each key, within each handler's own limit.

The order for one call: a place in the bulkhead, the breaker's permit, the lookup if an earlier end is unknown, a look
at the deadline last thing, the call under its timeout. A process that was stopped in between finds its deadline passed
and calls nobody: somebody else may have taken the row.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from opentelemetry import trace

from orchestrator.log_fields import handling
from orchestrator.participant import inbox, spans
from orchestrator.participant.breaker import Refused
from orchestrator.participant.connection import Lane
from orchestrator.participant.external import Call
from orchestrator.participant.outcomes import (
    Ended,
    Lost,
    NotDone,
    Outcome,
    Postponed,
    RecheckFailed,
    UndoPostponed,
)
from orchestrator.participant.outside import outcome_of
from orchestrator.participant.service import LOG, Service
from orchestrator.participant.waiting import all_ended
from orchestrator.problems import Problem

CALLS_WAITING_MAX = 500  # more are left in Kafka
_LEAVING = Problem(
    kind="transient", type="Leaving", text="this process is being stopped", effect="none", retry_after_s=0.1
)
RENEW_S = 1.0  # how often calls that wait for a place move their deadline on: well below HOLD_SLACK_S


class Bulkheads:
    """How many calls of each handler are out at once."""

    def __init__(self) -> None:
        self._places: dict[int, asyncio.Semaphore] = {}

    def place(self, owner: object, concurrency: int) -> asyncio.Semaphore:
        """The semaphore of a handler."""
        return self._places.setdefault(id(owner), asyncio.Semaphore(concurrency))


class Calls:
    """All calls of this process."""

    def __init__(self, service: Service, renewals: Lane, ended: Callable[[Ended], None]) -> None:
        self._service = service
        self._renewals = renewals
        self._ended = ended
        self._bulkheads = Bulkheads()
        self._keys: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._key_users: defaultdict[str, int] = defaultdict(int)
        self._waiting: dict[tuple[str, int], Call] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """Calls that have no place yet."""
        return len(self._waiting)

    @property
    def under_way(self) -> int:
        """All calls, waiting or out."""
        return len(self._tasks)

    def start(self, call: Call) -> None:
        """Make a call whose run is committed."""
        self._waiting[call.key, call.run] = call
        task = asyncio.create_task(self._make(call), name=f"{call.kind} {call.key}")
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def drain(self, seconds: float) -> None:
        """Let calls end; those that take longer are given up, and the next scan of their rows finds out.

        Calls that have no place yet are not made: whoever asked may ask another process.
        """
        for mark, call in list(self._waiting.items()):
            del self._waiting[mark]
            self._ended(Ended(call, _not_made(call, _LEAVING)))
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=seconds)
        await all_ended(list(self._tasks))

    async def keep_waiting(self) -> None:
        """Until cancelled: a call that waits for a place keeps its row as long as this process is alive."""
        while True:
            await asyncio.sleep(RENEW_S)
            if not self._waiting:
                continue
            try:
                await self._renew(list(self._waiting.values()))
            except Exception as error:
                LOG.warning("%s: deadlines of waiting calls not renewed: %s", self._service.name, error)

    async def _renew(self, calls: list[Call]) -> None:
        anchor = time.monotonic()
        params = ([c.key for c in calls], [c.run for c in calls], [c.hold_s for c in calls])
        held = set(await self._renewals.execute(inbox.RENEW, params, "renew"))
        for call in calls:
            mark = (call.key, call.run)
            if mark in self._waiting and mark in held:
                self._waiting[mark] = replace(call, give_up_at=anchor + call.hold_s)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # The row is still `running`: its deadline passes and a scan looks the outcome up.
            LOG.error("%s: call %s ended without an outcome", self._service.name, task.get_name(), exc_info=error)

    async def _make(self, call: Call) -> None:
        mark = (call.key, call.run)
        try:
            async with self._alone(call.key), self._bulkheads.place(call.handler, call.options.concurrency):
                if (waited := self._waiting.pop(mark, None)) is None:
                    return
                outcome = await self._guarded(waited)
                self._service.counts.called(outcome)
        finally:
            self._waiting.pop(mark, None)
        self._ended(Ended(waited, outcome))

    @asynccontextmanager
    async def _alone(self, key: str) -> AsyncIterator[None]:
        self._key_users[key] += 1
        try:
            async with self._keys[key]:
                yield
        finally:
            self._key_users[key] -= 1
            if not self._key_users[key]:
                del self._key_users[key], self._keys[key]

    async def _guarded(self, call: Call) -> Outcome:
        """With the breaker's permit, and the breaker told how it went."""
        breaker = self._service.breaker_of(call.options)
        if breaker is None:
            return await self._traced(call)
        try:
            return await breaker.guard(call.hold_s, lambda: self._traced(call))
        except Refused as refused:
            return _refused(call, refused)

    async def _traced(self, call: Call) -> Outcome:
        name = {"do": "process", "resolve": "look up", "undo": "undo", "recheck": "look up"}[call.kind]

        def attributes() -> spans.Attributes:
            more: spans.Attributes = {"amends.operation_key": call.key, "amends.attempt": call.attempt}
            return spans.process_attributes(
                self._service.command_topic, self._service.name, key=call.saga_id, more=more
            )

        span_name = f"{name} {call.handler.command.__wire_name__}"
        with (
            handling(call.handled),
            spans.handling(span_name, call.traceparent, attributes, undone_of=call.undone_of),
        ):
            outcome = await outcome_of(self._service, call)
            if isinstance(outcome, NotDone):
                span = trace.get_current_span()
                span.set_attribute("amends.outcome", type(outcome).__name__)
                spans.fail(span, outcome.error or Exception(outcome.problem.type))
            return outcome


def _refused(call: Call, refused: Refused) -> Outcome:
    problem = Problem(
        kind="transient", type="BreakerOpen", text=str(refused), effect="none", retry_after_s=refused.retry_after_s
    )
    return _not_made(call, problem)


def _not_made(call: Call, problem: Problem) -> Outcome:
    """Nobody was called."""
    match call.kind:
        case "do":
            return Postponed(problem=problem)
        case "resolve":
            return Lost(problem=replace(problem, effect="unknown"))
        case "undo":
            return UndoPostponed(problem=problem)
        case "recheck":
            return RecheckFailed()
