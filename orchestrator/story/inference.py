"""Ends that no line names: a receive got its message, a sleep was slept, somebody's patience was at its end.

Messages are handed out as the saga's own mailbox does it: the oldest receive that wants one gets it, and a new receive
the oldest message that nobody got. A timer belongs to what was due. Where more than one operation can have run out of
time, none is said to have: the undo that follows, or the saga's end, will tell.
"""

from collections.abc import Sequence

from orchestrator.story.ending import end_operation
from orchestrator.story.model import Ended, Json, Mail, Operation, Story

Line = dict[str, Json]

_ROUNDED_US = 1_000  # a length in the journal is given in milliseconds,
_ROUNDED_PART = 5e-6  # and in six digits


def begin_wait(story: Story, seq: int, kind: str, name: str, ended: Ended) -> None:
    """A receive, a sleep or a timeout begins; a receive may find its message waiting."""
    if seq in story.operations:
        return
    types, _, channel = name.partition(" on ") if kind == "receive" else (name, "", "")
    operation = story.operations[seq] = Operation(seq, kind, types, story.now_us, channel=channel)
    if kind != "receive":
        return
    for index, mail in enumerate(story.mail):
        if _wants(operation, mail):
            story.mail.pop(index)
            end_operation(operation, "done", story.now_us, ended)
            return


def message_came(story: Story, type_name: str, channel: str, ended: Ended) -> None:
    """The oldest receive that wants it gets it; else it waits."""
    mail = Mail(type_name, channel)
    for operation in story.open_operations:
        if operation.kind == "receive" and _wants(operation, mail):
            end_operation(operation, "done", story.now_us, ended)
            return
    story.mail.append(mail)


def timer_fired(story: Story, decisions: Sequence[Line], ended: Ended) -> None:
    """The first that was due; else the one operation that was open, if the saga went on without its answer."""
    if any(d.get("again") for d in decisions):
        return  # A command without an answer was sent again: nothing has ended.
    timed = [(due_us, o.seq, o) for o in story.open_operations if (due_us := _due_us(o)) is not None]
    due = [one for one in timed if one[0] <= story.now_us]
    if due:
        # A timeout of asyncio ends by itself; what it cancelled is told by what follows.
        end_operation(min(due)[2], "done", story.now_us, ended)
        return
    if not any(_goes_on(story, d) for d in decisions):
        return
    candidates = [o for o in story.open_operations if o.kind not in ("sleep", "timeout") and not o.stuck]
    undone_now = {d.get("undo_of") for d in decisions}
    if len(candidates) == 1 and candidates[0].seq not in undone_now:
        _ran_out_of_time(story, candidates[0], ended)


def _ran_out_of_time(story: Story, operation: Operation, ended: Ended) -> None:
    if not operation.error_type:
        operation.error_type, operation.error_text = "TimedOut", "no answer in time"
    waits_for_nobody = operation.kind == "receive"
    between_attempts = bool(operation.attempts) and operation.attempts[-1].ended_us is not None
    known = waits_for_nobody or (between_attempts and not operation.in_doubt)
    end_operation(operation, "failed" if known else "unknown", story.now_us, ended)


def _goes_on(story: Story, decision: Line) -> bool:
    """Not just another attempt of what is open."""
    if decision.get("op") in ("undo", "undo_child") or decision.get("undo_of") is not None:
        return int(decision.get("attempt", 1)) == 1
    operation = story.operations.get(int(decision.get("seq", -1)))
    return operation is None or not operation.is_open


def _due_us(operation: Operation) -> int | None:
    """When a sleep or a timeout is over, at the earliest: its length is its name, `1.5s`, rounded to six digits."""
    if operation.kind not in ("sleep", "timeout") or not operation.name.endswith("s"):
        return None
    try:
        length_us = float(operation.name[:-1]) * 1_000_000
    except ValueError:
        return None
    return operation.begun_us + int(length_us - max(_ROUNDED_US, length_us * _ROUNDED_PART))


def _wants(receive: Operation, mail: Mail) -> bool:
    return mail.channel == receive.channel and mail.type in receive.name.split(" | ")
