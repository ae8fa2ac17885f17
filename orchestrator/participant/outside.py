"""What one call asks of the other side: the command, what came of it, its undo, or a second look.

The order: the lookup if an earlier end is unknown, a look at the deadline last thing, the call under its timeout. What
comes out says what is known of the effect; who stores it is `ends`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.errors import Failure, Transient
from orchestrator.failpoints import failpoint
from orchestrator.messaging import avro
from orchestrator.participant.breaker import NotCalled
from orchestrator.participant.external import Call
from orchestrator.participant.handling import Handling, published
from orchestrator.participant.local import encoded_reply
from orchestrator.participant.outcomes import (
    Broken,
    Declined,
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
from orchestrator.participant.service import Service
from orchestrator.problems import Problem, problem_of

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


async def outcome_of(service: Service, call: Call) -> Outcome:
    match call.kind:
        case "do":
            return await _do(service, call)
        case "resolve":
            return await _resolve(service, call)
        case "undo":
            return await _undo(service, call)
        case "recheck":
            return await _recheck(service, call)


async def _do(service: Service, call: Call) -> Outcome:
    if call.in_doubt and call.handler.lookup is not None:
        match await _lookup(service, call):
            case _Found(reply, value):
                return Succeeded(reply=reply, value=value)
            case _Unanswered(error):
                return Postponed(problem=_lookup_failed(call, error), error=error)
            case _NotFound() if time.monotonic() < call.quiet_at:
                return Postponed(problem=_too_early(call, call.quiet_at - time.monotonic()))
    handling = _handling(service, call, call.key)
    try:
        value = await _made(call, call.handler.function, call.command, handling)
    except NotCalled as late:
        return Postponed(problem=_TOO_LATE, error=late)
    except Failure as failure:
        return Declined(problem=problem_of(failure), events=published(handling))
    except Transient as transient:
        return Postponed(problem=problem_of(transient), error=transient)
    except Exception as error:
        return await _unknown(service, call, error)
    return _answered(call, value, handling)


async def _unknown(service: Service, call: Call, error: Exception) -> Outcome:
    """It raised something that says nothing about the effect: ask at once, the orchestrator is waiting."""
    problem = replace(problem_of(error), effect="unknown")
    if call.handler.lookup is not None and call.give_up_at - time.monotonic() > LOOKUP_SECONDS_MIN:
        match await _lookup(service, call):
            case _Found(reply, value):
                return Succeeded(reply=reply, value=value, error=error)
    return Lost(problem=problem, error=error)


async def _resolve(service: Service, call: Call) -> Outcome:
    text = f"its process died or was stopped, and {{}}; attempt {call.attempt} of {call.handler.command.__name__}"
    match await _lookup(service, call):
        case _Found(reply, value):
            return Succeeded(reply=reply, value=value)
        case _Unanswered(error):
            said = text.format(f"the lookup failed: {error}")
            return Lost(problem=Problem(kind="error", type="Lost", text=said), error=error)
    return Lost(problem=Problem(kind="error", type="Lost", text=text.format("the lookup found nothing yet")))


async def _undo(service: Service, call: Call) -> Outcome:
    known = await _known(service, call)
    if isinstance(known, Outcome):
        return known
    undo = call.handler.undo_function
    assert undo is not None
    handling = _handling(service, call, f"{call.key}:undo")
    try:
        returned = await _made(call, undo, call.command, None if known is None else known.value, handling)
    except NotCalled as late:
        return UndoPostponed(problem=_TOO_LATE, error=late)
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


async def _known(service: Service, call: Call) -> _Found | Outcome | None:
    """What is to be taken back: the reply, None (undo blindly), or an outcome that needs no undo."""
    if call.reply is not None:
        try:
            return _Found(call.reply, parsed_reply(call.handler, call.reply))
        except avro.SchemaPending as pending:
            return UndoPostponed(problem=problem_of(pending), error=pending)
    if call.options.in_doubt == "pin":
        return await _pinned(service, call)
    if call.handler.lookup is None:
        return None
    match await _lookup(service, call):
        case _Found() as found:
            return found
        case _Unanswered(error):
            return UndoPostponed(problem=_lookup_failed(call, error), error=error)
    quiet_in_s = call.quiet_at - time.monotonic()
    return UndoEarly(quiet_in_s=quiet_in_s) if quiet_in_s > 0 else UndoEnded(called=False)


async def _pinned(service: Service, call: Call) -> _Found | Outcome:
    """Repeat the call under its key: the other side answers it as it did, or for the first and last time."""
    handling = _handling(service, call, call.key)
    try:
        value = await _made(call, call.handler.function, call.command, handling)
        return _Found(encoded_reply(call.handler, value), value)
    except NotCalled as late:
        return UndoPostponed(problem=_TOO_LATE, error=late)
    except Failure:
        return UndoEnded(called=False)
    except Transient as transient:
        return UndoPostponed(problem=problem_of(transient), error=transient)
    except Exception as error:
        return UndoUnclear(problem=problem_of(error), error=error)


async def _recheck(service: Service, call: Call) -> Outcome:
    if call.handler.lookup is None:
        return Rechecked(found=True)  # Nobody can say: undo blindly once more, under the same key.
    match await _lookup(service, call):
        case _Found(reply, value):
            same = call.reply is not None and avro.unframed(reply) == avro.unframed(call.reply)
            return Rechecked(found=not same, reply=reply, value=value)
        case _Unanswered(error):
            return RecheckFailed(error=error)
    return Rechecked(found=False)


async def _lookup(service: Service, call: Call) -> _Found | _NotFound | _Unanswered:
    lookup = call.handler.lookup
    assert lookup is not None
    seconds = min(call.options.timeout_s, call.give_up_at - time.monotonic())
    try:
        async with asyncio.timeout(seconds):
            value = await lookup(call.command, _handling(service, call, call.key))
        return _NotFound() if value is None else _Found(encoded_reply(call.handler, value), value)
    except Exception as error:
        return _Unanswered(error)


async def _made(call: Call, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    """Call out, within the call's time. Raises NotCalled if it could not end before somebody else may take the row."""
    failpoint("participant.call.before")
    if time.monotonic() + call.options.timeout_s > call.give_up_at:
        raise NotCalled
    async with asyncio.timeout(call.options.timeout_s):
        value = await function(*args)
    failpoint("participant.call.after")
    return value


def _handling(service: Service, call: Call, key: str) -> Handling[Any]:
    return service.handling(key=key, attempt=call.attempt, saga_id=call.saga_id, expires_at=call.expires_at)


def _answered(call: Call, value: Any, handling: Handling[Any]) -> Outcome:
    try:
        return Succeeded(reply=encoded_reply(call.handler, value), value=value, events=published(handling))
    except Exception as error:
        return Broken(problem=replace(problem_of(error), effect="unknown"))


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
