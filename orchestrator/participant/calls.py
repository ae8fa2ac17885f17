"""Makes the calls to the outside: concurrently, one at a time for each key, within each handler's own limit.

The order for one call: a place in the bulkhead, the breaker's permit, the lookup if an earlier end is unknown, a look
at the deadline last thing, the call under its timeout. A process that was stopped in between finds its deadline passed
and calls nobody: somebody else may have taken the row.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from opentelemetry import trace

from orchestrator.errors import Failure, Transient
from orchestrator.participant import inbox, spans
from orchestrator.participant.breaker import NotCalled, Permit, Refused
from orchestrator.participant.connection import Lane
from orchestrator.participant.external import Call
from orchestrator.participant.handling import Handling, published
from orchestrator.participant.local import encoded_reply
from orchestrator.participant.outcomes import (
    Broken,
    Declined,
    Ended,
    Lost,
    Outcome,
    Postponed,
    Rechecked,
    RecheckFailed,
    Succeeded,
    UndoEarly,
    UndoEnded,
    UndoPostponed,
    UndoRefused,
    UndoUnclear,
)
from orchestrator.participant.requests import parsed_reply
from orchestrator.participant.service import LOG, Service
from orchestrator.participant.waiting import all_ended
from orchestrator.problems import Problem, problem_of

CALLS_WAITING_MAX = 500  # more are left in Kafka
RENEW_S = 1.0  # how often calls that wait for a place move their deadline on: well below HOLD_SLACK_S
LOOKUP_SECONDS_MIN = 0.2  # with less left until the deadline a lookup is not worth beginning

_TOO_LATE = Problem(
    kind="transient", type="TooLate", text="not begun before its deadline", effect="none", retry_after_s=0.5
)


@dataclass(frozen=True, slots=True)
class _Found:
    reply: bytes
    value: Any


@dataclass(frozen=True, slots=True)
class _NotFound:
    pass


@dataclass(frozen=True, slots=True)
class _Unanswered:
    error: Exception


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
        """Let calls end; those that take longer are given up, and the next scan of their rows finds out."""
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
        held = set(await self._renewals.execute(inbox.RENEW, params))
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
                call = self._waiting.pop(mark)
                outcome = await self._guarded(call)
        finally:
            self._waiting.pop(mark, None)
        self._ended(Ended(call, outcome))

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
            permit = await breaker.permit(call.hold_s)
        except Refused as refused:
            return _refused(call, refused)
        error: BaseException | None = None
        try:
            outcome = await self._traced(call)
            error = outcome.error
            return outcome
        except BaseException as unexpected:
            error = unexpected
            raise
        finally:
            await self._tell(breaker.ended(permit, error), permit)

    async def _tell(self, telling: Coroutine[Any, Any, None], permit: Permit) -> None:
        try:
            await telling
        except Exception as error:
            # Known here; the table hears it at the next refresh, and a trial permit runs out by itself.
            LOG.warning("%s: breaker%s not stored: %s", self._service.name, " trial" if permit.trial else "", error)

    async def _traced(self, call: Call) -> Outcome:
        name = {"do": "process", "resolve": "look up", "undo": "undo", "recheck": "look up"}[call.kind]
        attributes = spans.process_attributes(
            self._service.command_topic,
            self._service.name,
            key=call.saga_id,
            more={"amends.operation_key": call.key, "amends.attempt": call.attempt},
        )
        span_name = f"{name} {call.handler.command.__wire_name__}"
        with spans.handling(span_name, call.traceparent, attributes, undone_of=call.undone_of):
            outcome = await self._outcome(call)
            problem = getattr(outcome, "problem", None)
            if problem is not None:
                span = trace.get_current_span()
                span.set_attribute("amends.outcome", type(outcome).__name__)
                spans.fail(span, outcome.error or Exception(problem.type))
            return outcome

    async def _outcome(self, call: Call) -> Outcome:
        match call.kind:
            case "do":
                return await self._do(call)
            case "resolve":
                return await self._resolve(call)
            case "undo":
                return await self._undo(call)
            case "recheck":
                return await self._recheck(call)

    # --- the command

    async def _do(self, call: Call) -> Outcome:
        if call.in_doubt and call.handler.lookup is not None:
            match await self._lookup(call):
                case _Found(reply, value):
                    return Succeeded(reply=reply, value=value)
                case _Unanswered(error):
                    return Postponed(problem=_lookup_failed(call, error), error=error)
                case _NotFound() if time.monotonic() < call.quiet_at:
                    return Postponed(problem=_too_early(call, call.quiet_at - time.monotonic()))
        handling = self._handling(call, call.key)
        if not _in_time(call):
            return Postponed(problem=_TOO_LATE, error=NotCalled())
        try:
            async with asyncio.timeout(call.options.timeout_s):
                value = await call.handler.function(call.command, handling)
        except Failure as failure:
            return Declined(problem=problem_of(failure), events=published(handling))
        except Transient as transient:
            return Postponed(problem=problem_of(transient), error=transient)
        except Exception as error:
            return await self._unknown(call, error)
        return _answered(call, value, handling)

    async def _unknown(self, call: Call, error: Exception) -> Outcome:
        """It raised something that says nothing about the effect: ask at once, the orchestrator is waiting."""
        problem = replace(problem_of(error), effect="unknown")
        if call.handler.lookup is not None and call.give_up_at - time.monotonic() > LOOKUP_SECONDS_MIN:
            match await self._lookup(call):
                case _Found(reply, value):
                    return Succeeded(reply=reply, value=value, error=error)
        return Lost(problem=problem, error=error)

    async def _resolve(self, call: Call) -> Outcome:
        text = f"its process died or was stopped, and {{}}; attempt {call.attempt} of {call.handler.command.__name__}"
        match await self._lookup(call):
            case _Found(reply, value):
                return Succeeded(reply=reply, value=value)
            case _Unanswered(error):
                said = text.format(f"the lookup failed: {error}")
                return Lost(problem=Problem(kind="error", type="Lost", text=said), error=error)
        return Lost(problem=Problem(kind="error", type="Lost", text=text.format("the lookup found nothing yet")))

    # --- the undo

    async def _undo(self, call: Call) -> Outcome:
        known = await self._known(call)
        if isinstance(known, Outcome):
            return known
        undo = call.handler.undo_function
        assert undo is not None
        handling = self._handling(call, f"{call.key}:undo")
        if not _in_time(call):
            return UndoPostponed(problem=_TOO_LATE, error=NotCalled())
        try:
            async with asyncio.timeout(call.options.timeout_s):
                returned = await undo(call.command, None if known is None else known.value, handling)
        except Failure as failure:
            return UndoRefused(problem=problem_of(failure))
        except Transient as transient:
            return UndoPostponed(problem=problem_of(transient), error=transient)
        except Exception as error:
            return UndoUnclear(problem=problem_of(error), error=error)
        return UndoEnded(
            called=True,
            reply=None if known is None else known.reply,
            value=None if known is None else known.value,
            returned=returned,
            events=published(handling),
        )

    async def _known(self, call: Call) -> _Found | None | Outcome:
        """What is to be taken back: the reply, None (undo blindly), or an outcome that needs no undo."""
        if call.reply is not None:
            return _Found(call.reply, parsed_reply(call.handler, call.reply))
        if call.options.in_doubt == "pin":
            return await self._pinned(call)
        if call.handler.lookup is None:
            return None
        match await self._lookup(call):
            case _Found() as found:
                return found
            case _Unanswered(error):
                return UndoPostponed(problem=_lookup_failed(call, error), error=error)
        quiet_in_s = call.quiet_at - time.monotonic()
        return UndoEarly(quiet_in_s=quiet_in_s) if quiet_in_s > 0 else UndoEnded(called=False)

    async def _pinned(self, call: Call) -> _Found | Outcome:
        """Repeat the call under its key: the other side answers it as it did, or for the first and last time."""
        handling = self._handling(call, call.key)
        if not _in_time(call):
            return UndoPostponed(problem=_TOO_LATE, error=NotCalled())
        try:
            async with asyncio.timeout(call.options.timeout_s):
                value = await call.handler.function(call.command, handling)
            return _Found(encoded_reply(call.handler, value), value)
        except Failure:
            return UndoEnded(called=False)
        except Transient as transient:
            return UndoPostponed(problem=problem_of(transient), error=transient)
        except Exception as error:
            return UndoUnclear(problem=problem_of(error), error=error)

    async def _recheck(self, call: Call) -> Outcome:
        if call.handler.lookup is None:
            return Rechecked(found=True)  # Nobody can say: undo blindly once more, under the same key.
        match await self._lookup(call):
            case _Found(reply, value):
                return Rechecked(found=reply != call.reply, reply=reply, value=value)
            case _Unanswered(error):
                return RecheckFailed(error=error)
        return Rechecked(found=False)

    # --- what both need

    async def _lookup(self, call: Call) -> _Found | _NotFound | _Unanswered:
        lookup = call.handler.lookup
        assert lookup is not None
        seconds = min(call.options.timeout_s, call.give_up_at - time.monotonic())
        try:
            async with asyncio.timeout(seconds):
                value = await lookup(call.command, self._handling(call, call.key))
            return _NotFound() if value is None else _Found(encoded_reply(call.handler, value), value)
        except Exception as error:
            return _Unanswered(error)

    def _handling(self, call: Call, key: str) -> Handling[Any]:
        return self._service.handling(key=key, attempt=call.attempt, saga_id=call.saga_id, expires_at=call.expires_at)


def _in_time(call: Call) -> bool:
    """Last thing before a call: it could still end before somebody else may take the row."""
    return time.monotonic() + call.options.timeout_s <= call.give_up_at


def _answered(call: Call, value: Any, handling: Handling[Any]) -> Outcome:
    try:
        return Succeeded(reply=encoded_reply(call.handler, value), value=value, events=published(handling))
    except Exception as error:
        return Broken(problem=replace(problem_of(error), effect="unknown"))


def _refused(call: Call, refused: Refused) -> Outcome:
    problem = Problem(
        kind="transient", type="BreakerOpen", text=str(refused), effect="none", retry_after_s=refused.retry_after_s
    )
    match call.kind:
        case "do":
            return Postponed(problem=problem)
        case "resolve":
            return Lost(problem=replace(problem, effect="unknown"))
        case "undo":
            return UndoPostponed(problem=problem)
        case "recheck":
            return RecheckFailed()


def _lookup_failed(call: Call, error: Exception) -> Problem:
    text = f"an earlier attempt of {call.handler.command.__name__} ended unknown, and its lookup failed: {error}"
    return Problem(kind="error", type="LookupFailed", text=text[:2000], effect="unknown")


def _too_early(call: Call, seconds: float) -> Problem:
    text = (
        f"an earlier attempt of {call.handler.command.__name__} ended unknown; its lookup found nothing, which counts "
        f"after {call.options.longest_delay_s:g} s"
    )
    return Problem(
        kind="transient", type="TooEarly", text=text, effect="unknown", retry_after_s=round(seconds + 0.1, 3)
    )
