"""Outbox rows that a participant writes: `reply` to a command, `undone` to an undo.

They go back to the partition that the message named (`reply_to`), so participants never hash a saga's id.
"""

from typing import Literal

from orchestrator.messaging.outgoing import ReturnAddress, partition_of, refused_row, undone_row
from orchestrator.participant.inbox import Entry
from orchestrator.problems import Problem
from outbox_relay import Row

ReplyOutcome = Literal["failed", "retry", "conflict"]
UndoneOutcome = Literal["failed", "retry"]


def succeeded(entry: Entry, attempt: int, *, traceparent: str | None = None) -> Row:
    """What the command answered: the very bytes that the inbox has."""
    assert entry.reply is not None
    topic, partition = partition_of(entry.reply_to)
    headers = {
        "kind": "reply",
        "saga_id": entry.saga_id,
        "operation_key": entry.row.key,
        "attempt": str(max(attempt, 1)),
        "outcome": "succeeded",
        "nonce": entry.nonce,
    }
    if found := traceparent or entry.traceparent:
        headers["traceparent"] = found
    return Row(
        topic=topic,
        key=entry.saga_id,
        type=f"{entry.type}Reply"[:255],
        payload=entry.reply,
        headers=headers,
        partition=partition,
    )


def unsuccessful(
    entry: Entry, attempt: int, outcome: ReplyOutcome, problem: Problem, *, traceparent: str | None = None
) -> Row:
    """failed, retry or conflict, and why."""
    return refused_row(_to(entry, attempt, traceparent or entry.traceparent), outcome=outcome, problem=problem)


def undone(entry: Entry, *, traceparent: str | None = None) -> Row:
    """The undo has been done, or there was nothing to undo."""
    return undone_row(_undo_to(entry, traceparent), outcome="undone")


def not_undone(entry: Entry, outcome: UndoneOutcome, problem: Problem, *, traceparent: str | None = None) -> Row:
    """The undo was refused (`failed`), or should be asked for again (`retry`)."""
    return undone_row(_undo_to(entry, traceparent), outcome=outcome, problem=problem)


def _undo_to(entry: Entry, traceparent: str | None) -> ReturnAddress:
    return _to(entry, entry.undo_attempt, traceparent or entry.undo_traceparent)


def _to(entry: Entry, attempt: int, traceparent: str | None) -> ReturnAddress:
    return ReturnAddress(
        reply_to=entry.reply_to,
        saga_id=entry.saga_id,
        operation_key=entry.key,
        attempt=max(attempt, 1),
        nonce=entry.nonce,
        traceparent=traceparent,
    )
