"""Outbox rows of all that we send but events: which kind has which headers is known here, and read in `incoming`.

Topics are full names. A body is JSON (`model_dump(mode="json")`); its class is found by its wire name, because the
journal knows no classes. Every function raises PayloadError for a value that can't travel.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, Self

from orchestrator import limits
from orchestrator.contracts import Command, Message, message_named, reply_type
from orchestrator.errors import DefinitionError, PayloadError
from orchestrator.messaging import avro
from orchestrator.messaging.avro_walk import Json
from orchestrator.messaging.control import ChildEnded, ProblemRecord, Settled, Start, Undo
from orchestrator.messaging.envelope import Envelope, Kind
from orchestrator.problems import Problem
from outbox_relay.rows import HEADER_COLUMNS, Row

ADDRESSES_CACHED_MAX = 1_024  # a saga's shard; there are as many as shards, and each message names one
_TYPE_CHARS_MAX = 255  # the column; a problem's type may be the name of anybody's exception


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnAddress:
    """Whose answer goes where: what a command or an undo brought along, and its answer carries back."""

    reply_to: str
    saga_id: str
    operation_key: str
    attempt: int
    nonce: str
    traceparent: str | None = None

    @classmethod
    def of(cls, envelope: Envelope) -> Self:
        """Raises PayloadError when the message does not say where its answer goes."""
        found = (envelope.reply_to, envelope.saga_id, envelope.operation_key, envelope.nonce)
        reply_to, saga_id, operation_key, nonce = found
        if reply_to is None or saga_id is None or operation_key is None or nonce is None:
            raise PayloadError(
                f"{envelope.topic}[{envelope.partition}]@{envelope.offset}: a {envelope.kind} needs all of the headers "
                "reply_to, saga_id, operation_key and nonce"
            )
        partition_of(reply_to)
        return cls(
            reply_to=reply_to,
            saga_id=saga_id,
            operation_key=operation_key,
            attempt=envelope.attempt,
            nonce=nonce,
            traceparent=envelope.traceparent,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One attempt of a command or of an undo: its route and its headers."""

    topic: str  # of the participant's commands
    saga_id: str
    operation_key: str
    attempt: int
    type: str  # wire name of the command
    reply_to: str
    nonce: str
    expires_at: str  # ISO 8601 in UTC
    traceparent: str | None = None
    partition: int | None = None  # None: by the key, as `Row` says

    def row(self, kind: Kind, payload: bytes, **more: str) -> Row:
        headers = {
            "saga_id": self.saga_id,
            "operation_key": self.operation_key,
            "attempt": str(self.attempt),
            "reply_to": self.reply_to,
            "nonce": self.nonce,
            "expires_at": self.expires_at,
        }
        headers |= more
        return _row(self.topic, self.saga_id, kind, self.type, payload, self.traceparent, headers, self.partition)


# ---- to a participant ------------------------------------------------------------------------------------------------


def command_row(request: Request, body: Json) -> Row:
    return request.row("command", avro.encode(command_named(request.type), body))


def undo_row(
    request: Request,
    *,
    body: Json,
    known: Literal["done", "unknown"],
    reply: Json,
    attempts: int,
    sent_at_us: int,
) -> Row:
    """`reply` counts when `known` is done: it may be None then, for a Command[None]."""
    command = command_named(request.type)
    undo = Undo(
        command=avro.encode(command, body),
        reply=avro.encode(reply_type(command), reply) if known == "done" else None,
        attempts=attempts,
        sent_at_us=sent_at_us,
    )
    return request.row("undo", undo.encode(), outcome=known)


def settled_row(*, topic: str, saga_id: str, keys: Sequence[str], partition: int | None = None) -> Row:
    """The participant may forget these operations when all their expiries have passed."""
    payload = Settled(keys=tuple(keys)).encode()
    return _row(topic, saga_id, "settled", "Settled", payload, None, {"saga_id": saga_id}, partition)


# ---- to a saga -------------------------------------------------------------------------------------------------------


def start_row(*, topic: str, shard: int, saga_id: str, start: Start, traceparent: str | None = None) -> Row:
    return _row(topic, saga_id, "start", start.type, start.encode(), traceparent, {"saga_id": saga_id}, shard)


def message_row(
    *,
    topic: str,
    shard: int,
    saga_id: str,
    wire_name: str,
    body: Json,
    channel: str = "",
    row_id: str | None = None,
    traceparent: str | None = None,
) -> Row:
    """`row_id` is how the saga knows doubles: `message_uuid` of the sender's own id, or of the operation that sends."""
    payload = avro.encode(class_named(wire_name), body)
    headers = {"saga_id": saga_id, **({"channel": channel} if channel else {})}
    return _row(topic, saga_id, "message", wire_name, payload, traceparent, headers, shard, row_id)


def forwarded_row(envelope: Envelope, partition: int) -> Row:
    """What came, once more, for the partition where it should have come. A message keeps its id, to be known again."""
    names = [name for name in HEADER_COLUMNS if name not in ("kind", "attempt")]
    given = {name: getattr(envelope, name) for name in names}
    headers = {"kind": envelope.kind, "attempt": str(envelope.attempt), **given}
    return Row(
        topic=envelope.topic,
        key=envelope.saga_id or envelope.key,
        type=envelope.type,
        payload=envelope.payload,
        headers={name: text for name, text in headers.items() if text is not None},
        partition=partition,
        id=envelope.id if envelope.kind == "message" else None,
    )


def message_uuid(saga_id: str, message_id: str) -> str:
    """The id of a message that its sender named `message_id`: the same each time it is sent."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"amends:{saga_id}:{message_id}"))


def succeeded_row(to: ReturnAddress, *, command: type[Command[Any]], body: Json) -> Row:
    """The answer of a handler, as JSON of the command's reply type."""
    payload = avro.encode(reply_type(command), body)
    return _answer(to, "reply", f"{command.__wire_name__}Reply", payload, "succeeded")


def refused_row(to: ReturnAddress, *, outcome: Literal["failed", "retry", "conflict"], problem: Problem) -> Row:
    """Every other answer to a command.

    failed: final; the problem's effect says whether it may have happened all the same. retry: again, because it had no
    effect or nobody knows. conflict: this key belongs to another body.
    """
    return _answer(to, "reply", problem.type, _problem_payload(problem), outcome)


def undone_row(
    to: ReturnAddress, *, outcome: Literal["undone", "failed", "retry"], problem: Problem | None = None
) -> Row:
    """The answer to an undo, of a participant or of a child. `to.attempt` is the undo's."""
    payload = b"" if problem is None else _problem_payload(problem)
    return _answer(to, "undone", "Undone" if problem is None else problem.type, payload, outcome)


def child_ended_row(to: ReturnAddress, *, ended: ChildEnded) -> Row:
    """`to` is the parent: its id, its operation, and its shard as `reply_to`."""
    return _answer(to, "child_ended", "ChildEnded", ended.encode(), ended.outcome)


def child_undo_row(
    *, topic: str, shard: int, child_id: str, operation_key: str, attempt: int, reply_to: str, nonce: str,
    traceparent: str | None = None,
) -> Row:  # fmt: skip
    """Ask a child to make its amends; `operation_key` is the parent's, where the answer belongs."""
    headers = {
        "saga_id": child_id,
        "operation_key": operation_key,
        "attempt": str(attempt),
        "reply_to": reply_to,
        "nonce": nonce,
    }
    return _row(topic, child_id, "child_undo", "Undo", b"", traceparent, headers, shard)


def child_settle_row(
    *, topic: str, shard: int, child_id: str, operation_key: str, nonce: str, traceparent: str | None = None
) -> Row:
    """Tell a child that nobody takes it back any more."""
    headers = {"saga_id": child_id, "operation_key": operation_key, "nonce": nonce}
    return _row(topic, child_id, "child_settle", "Settle", b"", traceparent, headers, shard)


# ---- where answers go ------------------------------------------------------------------------------------------------


def reply_to(topic: str, partition: int) -> str:
    """The address of a saga's shard, as it travels."""
    return f"{topic}/{partition}"


@lru_cache(maxsize=ADDRESSES_CACHED_MAX)
def partition_of(address: str) -> tuple[str, int]:
    """Topic and partition of a `reply_to`. Raises PayloadError."""
    topic, _, partition = address.rpartition("/")
    if not topic or not (partition.isascii() and partition.isdigit()) or len(partition) > 9:
        raise PayloadError(f"reply_to {address!r} is not <topic>/<partition>")
    return topic, int(partition)


def class_named(wire_name: str) -> type[Message]:
    """Raises DefinitionError: the class is not imported in this process."""
    if (cls := message_named(wire_name)) is None:
        raise DefinitionError(
            f"no message class {wire_name} is imported in this process: import the module that declares it"
        )
    return cls


def command_named(wire_name: str) -> type[Command[Any]]:
    """Raises DefinitionError: no command class of this name is imported in this process."""
    cls = class_named(wire_name)
    if not issubclass(cls, Command):
        raise DefinitionError(f"{wire_name} is no command: {cls.__module__}.{cls.__qualname__} has taken its name")
    return cls


def _problem_payload(problem: Problem) -> bytes:
    """A no must arrive: what can't travel of it is left out, so that its receiver meets an UnknownFailure."""
    try:
        return ProblemRecord(problem=problem).encode()
    except PayloadError as error:
        fields: dict[str, Any] | None = None if problem.fields is None else {}
        text = f"{problem.type}; its fields can't travel: {error}"[: limits.ERROR_TEXT_CHARS_MAX]
        bare = replace(problem, fields=fields, text=text, traceback="", left_undone=())
        return ProblemRecord(problem=bare).encode()


def _answer(to: ReturnAddress, kind: Kind, wire_name: str, payload: bytes, outcome: str) -> Row:
    topic, partition = partition_of(to.reply_to)
    headers = {
        "saga_id": to.saga_id,
        "operation_key": to.operation_key,
        "attempt": str(to.attempt),
        "outcome": outcome,
        "nonce": to.nonce,
    }
    return _row(topic, to.saga_id, kind, wire_name, payload, to.traceparent, headers, partition)


def _row(
    topic: str,
    key: str,
    kind: Kind,
    wire_name: str,
    payload: bytes,
    traceparent: str | None,
    headers: dict[str, str],
    partition: int | None = None,
    row_id: str | None = None,
) -> Row:
    headers = {"kind": kind, **headers}
    if traceparent is not None:
        headers["traceparent"] = traceparent
    return Row(
        topic=topic,
        key=key,
        type=wire_name[:_TYPE_CHARS_MAX],
        payload=payload,
        headers=headers,
        partition=partition,
        id=row_id,
    )
