"""What a command, an undo and a settled notice do to their inbox row: ask the state machine, then act on its answer."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from orchestrator import limits
from orchestrator.contracts import Command
from orchestrator.messaging.control import ProblemRecord
from orchestrator.participant import answers, external, local
from orchestrator.participant.handlers import AnyHandler, ExternalHandler, LocalHandler
from orchestrator.participant.inbox import Entry
from orchestrator.participant.inbox_states import Event, InboxContradiction, InboxRow, decide
from orchestrator.participant.requests import CommandRequest, SettledRequest, UndoRequest
from orchestrator.participant.service import LOG
from orchestrator.participant.unit import Unit
from orchestrator.problems import Problem, problem_of

# The clocks of orchestrator and participant may differ: near its end the horizon counts as passed.
HORIZON_MARGIN_S = 3_600.0
_OF_PURGED_ROWS = frozenset((("absent", "undo_done"), ("absent", "undo_aged"), ("failed", "undo_done")))


def placeholder(request: CommandRequest | UndoRequest, service: str, **known: Any) -> Entry:
    """The row of a key that has none yet; `known` are columns that are more than a beginning."""
    return Entry(
        **{"row": InboxRow(request.key), **known},
        service=service,
        saga_id=request.saga_id,
        type=request.type,
        body_hash=request.body_hash,
        reply_to=request.reply_to,
        nonce=request.nonce,
        traceparent=request.traceparent,
        expires_at=request.expires_at,
    )


async def apply_command(unit: Unit, request: CommandRequest, verdict: Exception | None) -> None:
    """One command, to its answer, or to its call."""
    if _is_plain(unit, request) and verdict is None:
        await _run_at_once(unit, request)
        return
    entry = _entry(unit, request)
    if _conflicts(entry, request):
        problem = _conflict(entry, request)
        unit.send(answers.unsuccessful(_asked(entry, request), request.attempt, "conflict", problem))
        return
    if request.refusal is not None or request.handler is None or request.command is None:
        _refuse(unit, entry, request)
        return
    if _is_parked(unit, entry, request, request.handler):
        return
    event = _command_event(unit, entry, request)
    after, action = unit.decide(entry, event, **_address(entry, request), attempt=max(entry.attempt, request.attempt))
    match action:
        case "run":
            await _run(unit, after, request, request.handler, request.command, verdict)
        case "wait":
            unit.put(after)
        case "answer" if entry.state == "absent":
            expired = Problem(
                kind="error", type="Expired", text=f"not begun: it expired at {request.expires_at:%Y-%m-%d %H:%M:%S %Z}"
            )
            expired = replace(expired, effect="unknown" if after.row.in_doubt else "none")
            # Aged: if it happened, its row was purged, and it was recorded long ago.
            after = unit.put(local.with_problem(replace(after, recorded=event == "aged"), expired))
            unit.send(stored_answer(after, request.attempt))
        case _:
            unit.send(stored_answer(_asked(entry, request), request.attempt))


async def apply_undo(unit: Unit, request: UndoRequest, verdict: Exception | None) -> None:
    """One undo, to its answer, or to its call."""
    entry = _entry(unit, request)
    asked = replace(
        _asked(entry, request),
        undo_attempt=max(entry.undo_attempt, request.attempt),
        undo_traceparent=request.traceparent,
    )
    if _conflicts(entry, request):
        unit.send(answers.not_undone(asked, "failed", _conflict(entry, request)))
        return
    if request.refusal is not None or request.handler is None or request.command is None:
        assert request.refusal is not None
        outcome: answers.UndoneOutcome = "retry" if request.refusal.kind == "transient" else "failed"
        unit.send(answers.not_undone(asked, outcome, request.refusal))
        return
    if request.handler.undo_function is None:
        problem = Problem(kind="error", type="NoUndo", text=f"{request.type} has no undo handler: write one and deploy")
        unit.send(answers.not_undone(asked, "failed", problem))
        return
    if entry.state == "absent" and request.expires_at < unit.now:
        return  # A late copy: whoever still wants it has sent it again.
    event = _undo_event(unit, entry, request)
    if entry.reply is None and (entry.state, event) in _OF_PURGED_ROWS:
        # Purged as well, even if a late copy of the command has left a row.
        asked = replace(asked, reply=request.reply, recorded=True)
    try:
        await carry_on_undo(unit, asked, event, request.handler, request.command, request.body, verdict)
    except InboxContradiction as error:
        LOG.error("%s", error, extra={"saga_id": request.saga_id, "operation_key": request.key})
        unit.send(answers.not_undone(asked, "failed", problem_of(error)))


async def carry_on_undo(
    unit: Unit,
    entry: Entry,
    event: Event,
    handler: AnyHandler,
    command: Command[Any],
    body: bytes,
    verdict: Exception | None = None,
) -> None:
    """Let an undo that was asked for take its course, now or after what it waited for. Raises InboxContradiction."""
    after, action = unit.decide(entry, event)
    match action:
        case "undo" if isinstance(handler, LocalHandler):
            await local.run_undo(unit, after, command, handler, verdict, after.undo_traceparent)
        case "undo":
            assert isinstance(handler, ExternalHandler)
            external.begin_undo(unit, after, handler, command, body)
        case "answer":
            unit.send(answers.undone(unit.put(after)))
        case _:
            unit.put(after)


def apply_settled(unit: Unit, request: SettledRequest) -> None:
    """The saga is terminal: these rows are purged when nothing old can come any more.

    Rows that the batch holds for another request; all others were settled when they were locked.
    """
    for key in request.keys:
        if (entry := unit.find(key)) is not None:
            unit.put(replace(entry, settled=True, expires_at=max(entry.expires_at, request.expires_at)))


def stored_answer(entry: Entry, attempt: int) -> Any:
    """What the inbox has to say to a command that does not run."""
    effect = effect_of(entry)
    if entry.state == "done":
        return answers.succeeded(entry, attempt)
    if entry.state in ("failed", "retryable"):
        assert entry.problem is not None
        problem = replace(ProblemRecord.decode(entry.problem).problem, effect=effect)
        return answers.unsuccessful(entry, attempt, "failed" if entry.state == "failed" else "retry", problem)
    text = f"inbox {entry.key}: {entry.type} is {entry.state}; what comes now is too late to run"
    return answers.unsuccessful(
        entry, attempt, "failed", Problem(kind="error", type="Refused", text=text, effect=effect)
    )


def effect_of(entry: Entry) -> Any:
    """Whether something may have happened, as the inbox knows it."""
    if entry.state in ("undone", "refused"):
        return "none"
    return "unknown" if entry.row.in_doubt or entry.state == "undoing" else "none"


def _is_plain(unit: Unit, request: CommandRequest) -> bool:
    """Nearly all: for a local handler of ours, in time, and nothing is known about its key."""
    return (
        isinstance(request.handler, LocalHandler)
        and request.command is not None
        and request.refusal is None
        and unit.find(request.key) is None
        and request.expires_at >= unit.now
    )


async def _run_at_once(unit: Unit, request: CommandRequest) -> None:
    """As `apply_command`, from `absent` to `done`, without making a row for each step in between."""
    assert isinstance(request.handler, LocalHandler)
    row, action = decide(InboxRow(request.key), "command")
    assert action == "run", "nothing is known about this key"
    reply, traceparent = await local.answer(unit, request, request.handler)
    row, _ = decide(row, "succeeded")
    known = {"row": row, "attempt": request.attempt, "reply": reply, "recorded": True}
    done = unit.put(placeholder(request, unit.service.name, **known))
    unit.send(answers.succeeded(done, request.attempt, traceparent=traceparent))


def _entry(unit: Unit, request: CommandRequest | UndoRequest) -> Entry:
    return unit.find(request.key) or placeholder(request, unit.service.name)


def _asked(entry: Entry, request: CommandRequest | UndoRequest) -> Entry:
    return replace(entry, **_address(entry, request))


def _address(entry: Entry, request: CommandRequest | UndoRequest) -> dict[str, Any]:
    """The row knows where the newest answer goes, and until when something old can come."""
    return {
        "reply_to": request.reply_to,
        "nonce": request.nonce,
        "expires_at": max(entry.expires_at, request.expires_at),
    }


def _conflicts(entry: Entry, request: CommandRequest | UndoRequest) -> bool:
    return (entry.type, bytes(entry.body_hash)) != (request.type, request.body_hash)


def _conflict(entry: Entry, request: CommandRequest | UndoRequest) -> Problem:
    text = (
        f"inbox {entry.key}: this key belongs to another {entry.type}; what came is {request.type} with "
        f"{'another body' if entry.type == request.type else 'another type'}. Nothing was changed."
    )
    return Problem(kind="error", type="KeyConflict", text=text, effect="unknown")


def _refuse(unit: Unit, entry: Entry, request: CommandRequest) -> None:
    """Nobody here can read or handle it. A row that is there already says more than that."""
    assert request.refusal is not None
    asked = _asked(entry, request)
    if entry.state not in ("absent", "running"):
        unit.send(stored_answer(asked, request.attempt))
    elif entry.state == "absent" and request.refusal.kind == "transient":
        unit.send(answers.unsuccessful(asked, request.attempt, "retry", request.refusal))
    elif entry.state == "absent":
        running, _ = unit.decide(replace(asked, attempt=request.attempt), "command")
        local.store_problem(unit, running, "declined", request.refusal)


def _is_parked(unit: Unit, entry: Entry, request: CommandRequest, handler: AnyHandler) -> bool:
    """An open breaker answers `retry after` before anything is written: no attempt is burnt."""
    if isinstance(handler, LocalHandler) or entry.state not in ("absent", "retryable"):
        return False
    breaker = unit.service.breaker_of(handler.options)
    refused = breaker.refusal() if breaker is not None else None
    if refused is None or request.expires_at < unit.now:
        return False
    problem = Problem(
        kind="transient",
        type="BreakerOpen",
        text=str(refused),
        effect=effect_of(entry),
        retry_after_s=refused.retry_after_s,
    )
    unit.send(answers.unsuccessful(_asked(entry, request), request.attempt, "retry", problem))
    return True


def _command_event(unit: Unit, entry: Entry, request: CommandRequest) -> Event:
    if entry.state == "absent" and request.expires_at < unit.now:
        return "aged" if _is_aged(unit, request) else "expired"
    if entry.state != "absent" and request.expires_at < unit.now:
        return "repeat"
    return "command" if entry.state == "absent" or request.attempt > entry.attempt else "repeat"


def _undo_event(unit: Unit, entry: Entry, request: UndoRequest) -> Event:
    if entry.state == "undoing" and entry.deadline is None:
        return "undo_free"
    if entry.state == "undoing" and entry.deadline is not None and entry.deadline <= unit.now:
        return "undo_deadline"
    if request.known == "done" and (entry.state != "absent" or request.reply is not None):
        return "undo_done"
    if entry.state == "absent" and (request.known == "done" or _is_aged(unit, request)):
        return "undo_aged"
    return "undo_unknown"


def _is_aged(unit: Unit, request: CommandRequest | UndoRequest) -> bool:
    """A row of this command could have been purged by the horizon."""
    return request.sent_at < unit.now - timedelta(seconds=limits.INBOX_HORIZON_S - HORIZON_MARGIN_S)


async def _run(
    unit: Unit,
    entry: Entry,
    request: CommandRequest,
    handler: AnyHandler,
    command: Command[Any],
    verdict: Exception | None,
) -> None:
    if isinstance(handler, LocalHandler):
        await local.run_command(unit, entry, request, handler, verdict)
    else:
        external.begin_command(unit, entry, handler, command, request.body, request.traceparent)
