"""Handlers that call out: what is committed before the call, so that no process has to survive it.

`begin_*` writes who is outside and until when (`run`, `deadline`) into the row and asks for the call; `calls` makes it
after the commit; `ends` stores how it ended, if the run still holds the row. If nobody does in time, `scan` finds it;
if the process has died (its session, `holder`, has ended), `scan` asks the other side before that.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from orchestrator.contracts import Command
from orchestrator.log_fields import Handled
from orchestrator.participant.handlers import External, ExternalHandler
from orchestrator.participant.inbox import Entry
from orchestrator.participant.unit import Unit

Kind = Literal["do", "resolve", "undo", "recheck"]

# What a run is given beyond its calls' own limits: to get from the commit to the call, and from its end to the store.
HOLD_SLACK_S = 3.0
NO_RUN = 0  # of a look that holds no row: only what it finds counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Go outside for one row, as its `run`. Times are monotonic seconds of this process.

    do: the command. resolve: ask what came of a run that did not end. undo: take it back. recheck: look once more
    whether something has shown up after an undo in doubt.
    """

    kind: Kind
    key: str
    run: int
    saga_id: str
    attempt: int
    handler: ExternalHandler[Any, Any, Any, Any]
    command: Command[Any]
    reply: bytes | None
    in_doubt: bool
    give_up_at: float  # the row's deadline; nothing is called that could not end before it
    quiet_at: float  # a lookup's no counts from then on
    hold_s: float
    expires_at: datetime
    traceparent: str | None
    undone_of: str | None = None

    @property
    def options(self) -> External:
        return self.handler.options

    @property
    def handled(self) -> Handled:
        """What its log lines carry."""
        key = f"{self.key}:undo" if self.kind == "undo" else self.key
        return Handled(key, self.attempt, self.traceparent, self.saga_id, self.handler.command.__wire_name__)


def begin_command(
    unit: Unit,
    entry: Entry,
    handler: ExternalHandler[Any, Any, Any, Any],
    command: Command[Any],
    body: bytes,
    traceparent: str | None,
) -> None:
    """`entry` has just become `running`."""
    asks_first = entry.row.in_doubt and handler.lookup is not None
    hold_s = handler.options.timeout_s * (2 if asks_first else 1) + HOLD_SLACK_S
    entry = replace(entry, body=body, problem=None, problem_type=None, problem_text=None)
    _begin(unit, entry, "do", handler, command, hold_s, traceparent)


def begin_resolve(
    unit: Unit, entry: Entry, handler: ExternalHandler[Any, Any, Any, Any], command: Command[Any]
) -> None:
    """The run that held `running` did not end in time: ask the other side, without calling again."""
    _begin(unit, entry, "resolve", handler, command, handler.options.timeout_s + HOLD_SLACK_S, entry.traceparent)


def look_early(unit: Unit, entry: Entry, handler: ExternalHandler[Any, Any, Any, Any], command: Command[Any]) -> None:
    """The process that holds `running` seems to be dead. A lookup's yes counts at once; all else has to wait."""
    unit.begin(
        _call(unit, entry, "resolve", handler, command, handler.options.timeout_s, entry.traceparent, run=NO_RUN)
    )


def begin_undo(
    unit: Unit, entry: Entry, handler: ExternalHandler[Any, Any, Any, Any], command: Command[Any], body: bytes
) -> None:
    """`entry` is `undoing`: look it up if need be, then take it back."""
    hold_s = handler.options.timeout_s * 2 + HOLD_SLACK_S
    _begin(unit, replace(entry, body=body), "undo", handler, command, hold_s, entry.undo_traceparent)


def begin_recheck(
    unit: Unit, entry: Entry, handler: ExternalHandler[Any, Any, Any, Any], command: Command[Any]
) -> None:
    """`entry` is `undone`, and a request of a given up attempt could have taken effect since."""
    _begin(unit, entry, "recheck", handler, command, handler.options.timeout_s + HOLD_SLACK_S, entry.undo_traceparent)


def _begin(
    unit: Unit,
    entry: Entry,
    kind: Kind,
    handler: ExternalHandler[Any, Any, Any, Any],
    command: Command[Any],
    hold_s: float,
    traceparent: str | None,
) -> None:
    deadline, holder = unit.after(hold_s), unit.connection.info.backend_pid
    entry = unit.put(replace(entry, run=entry.run + 1, deadline=deadline, holder=holder, due_at=deadline))
    unit.begin(_call(unit, entry, kind, handler, command, hold_s, traceparent, run=entry.run))


def _call(
    unit: Unit,
    entry: Entry,
    kind: Kind,
    handler: ExternalHandler[Any, Any, Any, Any],
    command: Command[Any],
    hold_s: float,
    traceparent: str | None,
    *,
    run: int,
) -> Call:
    quiet_in_s = (entry.quiet_at - unit.now).total_seconds() if entry.quiet_at else 0.0
    undoes = kind in ("undo", "recheck")
    return Call(
        kind=kind,
        key=entry.key,
        run=run,
        saga_id=entry.saga_id,
        attempt=max(entry.undo_attempt, 1) if undoes else entry.attempt,
        handler=handler,
        command=command,
        reply=entry.reply,
        in_doubt=entry.row.in_doubt,
        give_up_at=unit.anchor + hold_s,
        quiet_at=unit.anchor + quiet_in_s,
        hold_s=hold_s,
        expires_at=entry.expires_at,
        traceparent=traceparent,
        undone_of=entry.traceparent if undoes else None,
    )
