"""Outbox rows that a participant writes: `reply` to a command, `undone` to an undo.

They go back to the partition that the message named (`reply_to`), so participants never hash a saga's id.
"""

from typing import Literal

from orchestrator.messaging import avro
from orchestrator.messaging.control import ProblemRecord
from orchestrator.participant.inbox import Entry
from orchestrator.problems import Problem
from outbox_relay import Row

ReplyOutcome = Literal["succeeded", "failed", "retry", "conflict"]
UndoneOutcome = Literal["undone", "failed", "retry"]


def succeeded(entry: Entry, attempt: int, *, traceparent: str | None = None) -> Row:
    """What the command answered; the inbox has it."""
    assert entry.reply is not None
    return _reply(entry, attempt, "succeeded", _reply_type(entry.reply), entry.reply, traceparent)


def unsuccessful(
    entry: Entry, attempt: int, outcome: ReplyOutcome, problem: Problem, *, traceparent: str | None = None
) -> Row:
    """failed, retry or conflict, and why."""
    payload = ProblemRecord(problem=problem).encode()
    return _reply(entry, attempt, outcome, problem.type, payload, traceparent)


def undone(entry: Entry, *, traceparent: str | None = None) -> Row:
    """The undo has been done, or there was nothing to undo."""
    return _undone(entry, "undone", entry.type, b"", traceparent)


def not_undone(
    entry: Entry, outcome: UndoneOutcome, problem: Problem, *, traceparent: str | None = None
) -> Row:
    """The undo was refused (`failed`), or should be asked for again (`retry`)."""
    return _undone(entry, outcome, problem.type, ProblemRecord(problem=problem).encode(), traceparent)


def _reply(
    entry: Entry, attempt: int, outcome: str, type_: str, payload: bytes, traceparent: str | None
) -> Row:
    return _row(entry, "reply", attempt, outcome, type_, payload, traceparent or entry.traceparent)


def _undone(entry: Entry, outcome: str, type_: str, payload: bytes, traceparent: str | None) -> Row:
    at = traceparent or entry.undo_traceparent
    return _row(entry, "undone", max(entry.undo_attempt, 1), outcome, type_, payload, at)


def _row(
    entry: Entry, kind: str, attempt: int, outcome: str, type_: str, payload: bytes, traceparent: str | None
) -> Row:
    topic, _, partition = entry.reply_to.rpartition("/")
    headers = {
        "kind": kind,
        "saga_id": entry.saga_id,
        "operation_key": entry.key,
        "attempt": str(attempt),
        "outcome": outcome,
    }
    if entry.nonce is not None:
        headers["nonce"] = entry.nonce
    if traceparent is not None:
        headers["traceparent"] = traceparent
    return Row(
        topic=topic,
        key=entry.saga_id,
        type=type_[:255],
        payload=payload,
        headers=headers,
        partition=int(partition),
    )


def _reply_type(reply: bytes) -> str:
    try:
        return avro.type_name(reply)
    except avro.UnknownSchema:
        return "reply"  # Stored by another version of this service; who asked has its schema.
