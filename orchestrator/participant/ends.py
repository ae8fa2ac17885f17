"""Stores how calls ended: the answer, the service's own rows (`record`), and what follows, in one transaction.

Only the run that holds the row ends it. A deposed run's success is an input all the same (`late`): an open row becomes
`done`, a closed one is undone again. Its other ends are nobody's concern any more.
"""

from dataclasses import replace
from typing import Any

from orchestrator import limits
from orchestrator.participant import answers, commands, external, local
from orchestrator.participant.external import Call
from orchestrator.participant.inbox import Entry
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
from orchestrator.participant.service import LOG
from orchestrator.participant.unit import Unit
from orchestrator.problems import Problem, problem_of

_HELD_IN = {"do": "running", "resolve": "running", "undo": "undoing", "recheck": "undone"}


async def apply_end(unit: Unit, end: Ended, verdict: Exception | None) -> None:
    """One call's end. `verdict` is what `record` raised, again and again: then it is people's to mend."""
    call, outcome = end.call, end.outcome
    entry = unit.find(call.key)
    if entry is None:
        LOG.info("inbox %s: purged before run %d ended (%s)", call.key, call.run, type(outcome).__name__)
        return
    if entry.run != call.run or entry.state != _HELD_IN[call.kind]:
        if isinstance(outcome, Succeeded):
            await _late(unit, entry, call, outcome)
        else:
            LOG.info("inbox %s: run %d holds no row; its %s is ignored", call.key, call.run, type(outcome).__name__)
        return
    entry = replace(entry, deadline=None, due_at=None)
    if call.kind in ("do", "resolve"):
        await _command_ended(unit, entry, call, outcome, verdict)
    elif call.kind == "undo":
        await _undo_ended(unit, entry, call, outcome, verdict)
    else:
        await _rechecked(unit, entry, call, outcome)


# --- the command


async def _command_ended(unit: Unit, entry: Entry, call: Call, outcome: Outcome, verdict: Exception | None) -> None:
    match outcome:
        case Succeeded() if verdict is None:
            after, _ = unit.decide(entry, "succeeded")
            await _store_success(unit, after, call, outcome)
        case Succeeded():
            assert verdict is not None
            # Not recorded and never will be: the saga takes it back, with the reply that we do have.
            entry = replace(entry, reply=outcome.reply)
            local.store_problem(unit, entry, "broken", replace(problem_of(verdict), effect="unknown"))
        case Declined():
            unit.publish(outcome.events)
            local.store_problem(unit, entry, "declined", outcome.problem)
        case Broken():
            local.store_problem(unit, entry, "broken", outcome.problem)
        case Postponed():
            local.store_problem(unit, entry, "postponed", outcome.problem)
        case Lost():
            if call.kind == "do":  # Its request may be on its way; of a dead run `scan` has noted that.
                quiet_at = unit.after(call.options.longest_delay_s)
                entry = replace(entry, quiet_at=max(quiet_at, entry.quiet_at or quiet_at))
            local.store_problem(unit, entry, "lost", outcome.problem)
        case _:
            raise AssertionError(f"{outcome} can't end a command")
    await _waiting_undo(unit, call)


async def _store_success(unit: Unit, after: Entry, call: Call, outcome: Succeeded) -> None:
    after = await _recorded(unit, after, call, outcome.reply, outcome.value)
    after = unit.put(replace(after, problem=None, problem_type=None, problem_text=None))
    unit.publish(outcome.events)
    unit.send(answers.succeeded(after, after.attempt))


async def _recorded(unit: Unit, entry: Entry, call: Call, reply: bytes, value: Any) -> Entry:
    """The service's own rows about a reply, once for each reply that becomes known."""
    if entry.reply != reply:
        # `recorded` without a reply: a row that was purged long ago, after its `record` had run.
        entry = replace(entry, reply=reply, recorded=entry.recorded and entry.reply is None, undo_recorded=False)
    record = call.handler.record_function
    if record is not None and not entry.recorded:
        await unit.run(
            record,
            call.command,
            value,
            key=call.key,
            attempt=call.attempt,
            saga_id=call.saga_id,
            expires_at=call.expires_at,
        )
    return replace(entry, recorded=True)


async def _waiting_undo(unit: Unit, call: Call) -> None:
    """An undo that came while the call was out."""
    entry = unit.find(call.key)
    assert entry is not None
    if entry.undo_attempt and entry.state in ("done", "failed", "retryable"):
        await carry_on(unit, entry, call)


async def carry_on(unit: Unit, entry: Entry, call: Call) -> None:
    """Begin the undo that waits."""
    assert entry.body is not None
    await commands.carry_on_undo(unit, entry, "undo_unknown", call.handler, call.command, entry.body)


async def _late(unit: Unit, entry: Entry, call: Call, outcome: Succeeded) -> None:
    """A deposed run reports that it happened, or an early look has found it."""
    after, action = unit.decide(entry, "late")
    LOG.info("inbox %s: it happened, says run %d, which holds no row; that is %s", call.key, call.run, entry.state)
    if action == "answer":
        await _store_success(unit, replace(after, deadline=None, due_at=None), call, outcome)
        await _waiting_undo(unit, call)
    elif action == "undo":
        after = await _recorded(unit, after, call, outcome.reply, outcome.value)
        assert after.body is not None
        external.begin_undo(unit, after, call.handler, call.command, after.body)


# --- the undo


async def _undo_ended(unit: Unit, entry: Entry, call: Call, outcome: Outcome, verdict: Exception | None) -> None:
    match outcome:
        case UndoEnded() if verdict is None:
            await _store_undone(unit, entry, call, outcome)
        case UndoEnded():
            assert verdict is not None
            _not_undone(unit, entry, "failed", problem_of(verdict), None)
        case UndoRefused(problem=problem):
            after, _ = unit.decide(entry, "undo_refused")
            _not_undone(unit, after, "failed", problem, None)
        case UndoPostponed(problem=problem):
            after, _ = unit.decide(entry, "undo_postponed")
            _not_undone(unit, after, "retry", problem, _undo_pause_s(problem))
        case UndoUnclear(problem=problem):
            after, _ = unit.decide(entry, "undo_unclear")
            _not_undone(unit, after, "retry", problem, _undo_pause_s(problem))
        case UndoEarly(quiet_in_s=quiet_in_s):
            after, _ = unit.decide(entry, "undo_early")
            unit.put(replace(after, due_at=unit.after(quiet_in_s)))
        case _:
            raise AssertionError(f"{outcome} can't end an undo")


async def _store_undone(unit: Unit, entry: Entry, call: Call, outcome: UndoEnded) -> None:
    if outcome.reply is not None:
        entry = await _recorded(unit, entry, call, outcome.reply, outcome.value)
    undo = call.handler.undo_handler
    if outcome.called and undo is not None and undo.record_function is not None and not entry.undo_recorded:
        await unit.run(
            undo.record_function,
            call.command,
            outcome.returned,
            key=f"{call.key}:undo",
            attempt=call.attempt,
            saga_id=call.saga_id,
            expires_at=call.expires_at,
        )
    after, _ = unit.decide(replace(entry, undo_recorded=entry.undo_recorded or outcome.called), "undo_ended")
    if call.options.in_doubt == "pin":
        after = replace(after, row=replace(after.row, recheck=False))  # No late request can contradict a pinned answer.
    due_at = unit.after(call.options.longest_delay_s) if after.row.recheck else None
    after = unit.put(replace(after, due_at=due_at, problem=None, problem_type=None, problem_text=None))
    unit.publish(outcome.events)
    unit.send(answers.undone(after))


def _not_undone(
    unit: Unit, entry: Entry, outcome: answers.UndoneOutcome, problem: Problem, again_in_s: float | None
) -> None:
    """The orchestrator decides when to ask again; the scan is the net if it does not."""
    due_at = None if again_in_s is None else unit.after(again_in_s)
    after = unit.put(local.with_problem(replace(entry, due_at=due_at), problem))
    unit.send(answers.not_undone(after, outcome, problem))


def _undo_pause_s(problem: Problem) -> float:
    return max(limits.UNDO_REPEAT_S, problem.retry_after_s or 0.0)


async def _rechecked(unit: Unit, entry: Entry, call: Call, outcome: Outcome) -> None:
    match outcome:
        case Rechecked(found=True):
            after, _ = unit.decide(entry, "found")
            LOG.warning("inbox %s: an effect showed up after the undo; it is taken back", call.key)
            if outcome.reply is not None:
                after = await _recorded(unit, after, call, outcome.reply, outcome.value)
            assert after.body is not None
            external.begin_undo(unit, after, call.handler, call.command, after.body)
        case Rechecked():
            after, _ = unit.decide(entry, "not_found")
            unit.put(after)
        case RecheckFailed():
            unit.put(replace(entry, due_at=unit.after(call.options.longest_delay_s)))
        case _:
            raise AssertionError(f"{outcome} can't end a second lookup")
