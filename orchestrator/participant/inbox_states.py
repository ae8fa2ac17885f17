"""Decide what a participant does with a message, from the inbox row of its idempotency key and nothing else.

The table is the whole machine. It never asks in which order messages came: a rebalance, a resend or a grown topic
changes that order, the row lock under which this runs does not. `running` and `undoing` are the two states in which
somebody is outside: they are committed before the call, have a run and a deadline, and only the run that holds the
row ends it. What a deposed run reports is an input too, if it is a success (`late`).

`in_doubt` stands beside the table because it outlives every state: once the end of one attempt is unknown, no later
refusal proves that nothing happened. `recheck` says that a second lookup is due after an undo in doubt.
"""

from dataclasses import dataclass
from typing import Literal

from orchestrator.errors import AmendsError

State = Literal["absent", "running", "retryable", "done", "failed", "undoing", "undone", "refused"]
Event = Literal[
    # A command: a newer attempt, one that was seen before, one past its expires_at, one past the inbox's horizon.
    "command", "repeat", "expired", "aged",
    # How the run that holds `running` ended; `deadline`: it did not end in time; `broken`: it happened, or may have,
    # and an error of ours that no repetition mends keeps us from saying so.
    "succeeded", "declined", "postponed", "lost", "broken", "deadline",
    # A success that no holder reports: by a deposed run, or by a lookup.
    "late",
    # An undo: the orchestrator knows the success, or does not; `aged`: nor would we, the command is past the horizon.
    "undo_done", "undo_unknown", "undo_aged",
    # How the run that holds `undoing` ended; `free`: nobody holds it; `deadline`: its holder did not end in time.
    "undo_ended", "undo_refused", "undo_postponed", "undo_unclear", "undo_early", "undo_free", "undo_deadline",
    # The second lookup.
    "found", "not_found",
]  # fmt: skip
Action = Literal["run", "answer", "wait", "ask", "undo", "refuse", "ignore"]

# (state, what came): (state after, what to do), in columns. A missing pair cannot come unless one side lost its memory.
# fmt: off
TRANSITIONS: dict[tuple[State, Event], tuple[State, Action]] = {
    # No row. If it was purged, the undo carries the reply; if nothing ever came, a tombstone waits for the command,
    # but only where the row of a command that did run would still be here.
    ("absent", "command"): ("running", "run"),          ("absent", "expired"): ("failed", "answer"),
    ("absent", "aged"): ("failed", "answer"),           ("absent", "late"): ("absent", "ignore"),
    ("absent", "undo_done"): ("undoing", "undo"),       ("absent", "undo_unknown"): ("refused", "answer"),
    ("absent", "undo_aged"): ("undoing", "undo"),
    # Somebody is at work: to undo now would overtake the effect.
    ("running", "command"): ("running", "wait"),        ("running", "repeat"): ("running", "wait"),
    ("running", "succeeded"): ("done", "answer"),       ("running", "declined"): ("failed", "answer"),
    ("running", "postponed"): ("retryable", "answer"),  ("running", "lost"): ("retryable", "answer"),
    ("running", "broken"): ("failed", "answer"),        ("running", "deadline"): ("running", "ask"),
    ("running", "late"): ("done", "answer"),            ("running", "undo_unknown"): ("running", "wait"),
    # No attempt is under way, and none succeeded as far as we know.
    ("retryable", "command"): ("running", "run"),       ("retryable", "repeat"): ("retryable", "answer"),
    ("retryable", "late"): ("done", "answer"),          ("retryable", "undo_unknown"): ("undoing", "undo"),
    # It has ended: say again what was said, until it is undone.
    ("failed", "command"): ("failed", "answer"),        ("failed", "repeat"): ("failed", "answer"),
    ("failed", "late"): ("done", "answer"),             ("failed", "undo_unknown"): ("undoing", "undo"),
    ("failed", "undo_done"): ("undoing", "undo"),
    ("done", "command"): ("done", "answer"),            ("done", "repeat"): ("done", "answer"),
    ("done", "late"): ("done", "ignore"),
    ("done", "undo_done"): ("undoing", "undo"),         ("done", "undo_unknown"): ("undoing", "undo"),
    # The undo calls out as the command did, and may have to be begun again.
    ("undoing", "command"): ("undoing", "refuse"),      ("undoing", "repeat"): ("undoing", "refuse"),
    ("undoing", "late"): ("undoing", "undo"),
    ("undoing", "undo_done"): ("undoing", "wait"),      ("undoing", "undo_unknown"): ("undoing", "wait"),
    ("undoing", "undo_ended"): ("undone", "answer"),    ("undoing", "undo_refused"): ("undoing", "answer"),
    ("undoing", "undo_postponed"): ("undoing", "answer"),
    ("undoing", "undo_unclear"): ("undoing", "answer"), ("undoing", "undo_early"): ("undoing", "wait"),
    ("undoing", "undo_free"): ("undoing", "undo"),      ("undoing", "undo_deadline"): ("undoing", "undo"),
    # Closed: whatever still comes is too late to run, but an effect that still shows up is taken back.
    ("undone", "command"): ("undone", "refuse"),        ("undone", "repeat"): ("undone", "refuse"),
    ("undone", "late"): ("undoing", "undo"),
    ("undone", "undo_done"): ("undone", "answer"),      ("undone", "undo_unknown"): ("undone", "answer"),
    ("undone", "found"): ("undoing", "undo"),           ("undone", "not_found"): ("undone", "ignore"),
    ("refused", "command"): ("refused", "refuse"),      ("refused", "repeat"): ("refused", "refuse"),
    ("refused", "late"): ("undoing", "undo"),           ("refused", "undo_unknown"): ("refused", "answer"),
}
# fmt: on

# After these nobody can prove any more that nothing happened.
_DOUBTFUL: frozenset[Event] = frozenset(
    ("aged", "lost", "broken", "deadline", "undo_aged", "undo_unclear", "undo_deadline")
)


@dataclass(frozen=True, slots=True)
class InboxRow:
    """One idempotency key at one participant. `in_doubt`: some attempt ended and nobody knows how."""

    key: str
    state: State = "absent"
    in_doubt: bool = False
    recheck: bool = False


class InboxContradiction(AmendsError):
    """Orchestrator and inbox remember different histories of one command, as after a restored backup."""

    def __init__(self, row: InboxRow, event: Event) -> None:
        super().__init__(
            f"inbox {row.key}: `{event}` cannot come to a row that is `{row.state}`. Nothing was changed. Was a backup "
            f"restored? Compare SELECT * FROM amends.inbox WHERE key = '{row.key}' in the participant's database with "
            f"`amends show` of the saga, then `amends retry` or `amends skip` the operation."
        )


def decide(row: InboxRow, event: Event) -> tuple[InboxRow, Action]:
    """Return the row to store and the action to take; raise InboxContradiction if no history leads here."""
    if (row.state, event) not in TRANSITIONS:
        raise InboxContradiction(row, event)
    if event == "undo_done" and row.state == "failed" and not row.in_doubt:
        # In doubt it is a late copy of a command whose row was purged, and the orchestrator knows more than we do.
        raise InboxContradiction(row, event)
    state, action = TRANSITIONS[row.state, event]
    if event == "undo_unknown" and row.state in ("failed", "retryable") and not row.in_doubt:
        state, action = "undone", "answer"  # Every attempt is known to have had no effect: there is nothing to undo.
    in_doubt = event != "found" and (row.in_doubt or event in _DOUBTFUL)
    recheck = row.recheck and row.state == state == "undone" and event not in ("found", "not_found")
    if event == "undo_ended":
        recheck = in_doubt  # A request of an attempt that was given up could still take effect.
    return InboxRow(row.key, state, in_doubt, recheck), action
