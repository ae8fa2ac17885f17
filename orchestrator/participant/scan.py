"""Looks after rows that nobody ends: their holder died, was stopped, or asked to be looked at later.

Every process of the participant scans; SKIP LOCKED shares the rows out. Nothing here calls out: a row is given a new
run and a deadline, which deposes the old one, and the call follows the commit, as everywhere.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from orchestrator.contracts import Command
from orchestrator.errors import PayloadError
from orchestrator.log_fields import Handled, handling
from orchestrator.messaging import avro
from orchestrator.participant import commands, external, local
from orchestrator.participant.handlers import ExternalHandler
from orchestrator.participant.inbox import Entry
from orchestrator.participant.requests import parsed_command
from orchestrator.participant.service import LOG
from orchestrator.participant.unit import Unit
from orchestrator.problems import Problem

SCAN_ROWS_MAX = 50
SCAN_S = 0.5
PURGE_S = 30.0
PURGE_ROWS_MAX = 1_000
UNREADABLE_AGAIN_S = 60.0
PENDING_AGAIN_S = 1.0  # the schema registry is being asked
LOOK_AGAIN_S = 1.0  # a dead process's request may still be on its way: it is looked up so often until its deadline


async def apply_due(unit: Unit, entry: Entry) -> None:
    """One row whose time has come."""
    with handling(Handled(entry.key, entry.attempt, entry.traceparent, entry.saga_id, entry.type)):
        await _apply_due(unit, entry)


async def _apply_due(unit: Unit, entry: Entry) -> None:
    handler = unit.service.participant.handlers.get(entry.type)
    try:
        if not isinstance(handler, ExternalHandler) or entry.body is None:
            raise PayloadError(f"no external handler for {entry.type} in this process")
        command = parsed_command(handler, entry.body)
    except avro.SchemaPending:
        unit.put(replace(entry, due_at=unit.after(PENDING_AGAIN_S)))
        return
    except (PayloadError, ValidationError) as error:
        LOG.error("inbox %s: due, but not readable here: %s; again in %d s", entry.key, error, UNREADABLE_AGAIN_S)
        unit.put(replace(entry, due_at=unit.after(UNREADABLE_AGAIN_S)))
        return
    if entry.state == "running" and entry.deadline is not None and entry.deadline > unit.now:
        _orphaned(unit, entry, handler, command, entry.deadline)
    elif entry.state == "running":
        await _given_up(unit, entry, handler, command)
    elif entry.state == "undoing":
        after, _ = unit.decide(entry, "undo_free" if entry.deadline is None else "undo_deadline")
        external.begin_undo(unit, after, handler, command, entry.body)
    elif entry.state == "undone" and entry.row.recheck:
        external.begin_recheck(unit, entry, handler, command)
    else:
        unit.put(replace(entry, due_at=None))


def _orphaned(
    unit: Unit, entry: Entry, handler: ExternalHandler[Any, Any, Any, Any], command: Command[Any], deadline: datetime
) -> None:
    """Its holder's session has ended. That is no proof of death, so the run keeps the row until its deadline."""
    if handler.lookup is None:
        unit.put(replace(entry, holder=None))
        return
    LOG.info("inbox %s: the session of run %d of %s has ended; it is looked up", entry.key, entry.run, entry.type)
    unit.put(replace(entry, holder=None, due_at=min(deadline, unit.after(LOOK_AGAIN_S))))
    external.look_early(unit, entry, handler, command)


async def _given_up(
    unit: Unit, entry: Entry, handler: ExternalHandler[Any, Any, Any, Any], command: Command[Any]
) -> None:
    """The run did not end in time. A request that it sent can take effect until the longest delay has passed."""
    assert entry.deadline is not None
    quiet_at = entry.deadline + timedelta(seconds=handler.options.longest_delay_s)
    entry = replace(entry, quiet_at=max(quiet_at, entry.quiet_at or quiet_at))
    LOG.warning("inbox %s: run %d of %s did not end before its deadline", entry.key, entry.run, entry.type)
    if handler.lookup is not None:
        after, _ = unit.decide(entry, "deadline")
        external.begin_resolve(unit, after, handler, command)
        return
    text = f"attempt {entry.attempt} of {entry.type}: its process died or was stopped, and there is no lookup"
    entry = replace(entry, deadline=None, due_at=None)
    local.store_problem(unit, entry, "lost", Problem(kind="error", type="Lost", text=text))
    after_loss = unit.find(entry.key)
    assert after_loss is not None
    if after_loss.undo_attempt:
        assert after_loss.body is not None
        await commands.carry_on_undo(unit, after_loss, "undo_unknown", handler, command, after_loss.body)
