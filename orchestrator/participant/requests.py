"""What came from Kafka, as this participant reads it: envelope in, one typed request out. Nothing is stored here.

A message that can't be read is a request too (`Unreadable` bytes become a dead letter; a command of an unknown type is
answered), so that no message ever stops the ones behind it.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import ValidationError

from orchestrator import limits
from orchestrator.contracts import Command, Event, reply_adapter
from orchestrator.errors import PayloadError
from orchestrator.messaging import avro
from orchestrator.messaging.control import Settled, Undo
from orchestrator.messaging.envelope import Envelope, Unreadable
from orchestrator.messaging.outgoing import ReturnAddress
from orchestrator.participant.handlers import AnyHandler, EventHandler, Participant
from orchestrator.problems import Problem

_SORTED = json.JSONEncoder(sort_keys=True).encode  # json.dumps would make one for each command

Known = Literal["done", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRequest:
    """Do this. `refusal` says why nobody here can; then `handler` is None and no row is touched."""

    key: str
    saga_id: str
    type: str
    attempt: int
    reply_to: str
    nonce: str
    traceparent: str | None
    expires_at: datetime
    sent_at: datetime
    body: bytes
    body_hash: bytes
    command: Command[Any] | None = None
    handler: AnyHandler | None = None
    refusal: Problem | None = None
    at: Envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoRequest:
    """Take it back. `sent_at` is when the command's first attempt was sent: an old one may have been forgotten here."""

    key: str
    saga_id: str
    type: str
    attempt: int
    known: Known
    reply_to: str
    nonce: str
    traceparent: str | None
    expires_at: datetime
    sent_at: datetime
    body: bytes
    body_hash: bytes
    reply: bytes | None
    command: Command[Any] | None = None
    handler: AnyHandler | None = None
    refusal: Problem | None = None
    at: Envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledRequest:
    """These rows may go, once everything that was sent under their keys has expired."""

    keys: tuple[str, ...]
    expires_at: datetime
    at: Envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRequest:
    event_id: str
    topic: str
    key: str
    type: str
    payload: bytes
    traceparent: str | None
    event: Event | None  # None: not readable here (yet)
    handler: EventHandler
    at: Envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadRequest:
    """Nobody can read it and nobody waits for an answer that we could give: kept, shown, passed over."""

    topic: str
    partition: int
    offset: int
    key: str | None
    headers: str
    payload: bytes | None
    error: str


Request = CommandRequest | UndoRequest | SettledRequest | EventRequest | DeadRequest


def read(message: Envelope | Unreadable, participant: Participant[Any], event_topics: frozenset[str]) -> Request | None:
    """None: nothing of ours, such as an event that nobody here follows. Raises avro.SchemaPending."""
    if isinstance(message, Unreadable):
        headers = {name: None if value is None else value.decode("utf-8", "replace") for name, value in message.headers}
        return _dead(message, None, headers, message.payload, message.error)
    try:
        return _read(message, participant, event_topics)
    except avro.SchemaPending:
        raise  # Not this message's fault: it is read again when the registry has answered.
    except Exception as error:
        # Whatever it is about this message that we can't read, the ones behind it must not wait for it.
        return dead(message, f"{type(error).__name__}: {error}")


def dead(message: Envelope, error: str) -> DeadRequest:
    """A message of ours that can't be handled whoever tries."""
    names = (
        "id",
        "type",
        "kind",
        "saga_id",
        "operation_key",
        "attempt",
        "reply_to",
        "outcome",
        "expires_at",
        "channel",
    )
    headers = {name: getattr(message, name) for name in (*names, "traceparent")}
    return _dead(message, message.key, headers, message.payload, error)


def _dead(
    message: Envelope | Unreadable, key: str | None, headers: dict[str, Any], payload: bytes | None, error: str
) -> DeadRequest:
    text = json.dumps(headers, ensure_ascii=True).replace("\\u0000", "\\ufffd")
    return DeadRequest(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        key=None if key is None else key.replace("\x00", "\ufffd"),
        headers=text,
        payload=payload,
        error=error.replace("\x00", "\ufffd")[: limits.ERROR_TEXT_CHARS_MAX],
    )


def _read(message: Envelope, participant: Participant[Any], event_topics: frozenset[str]) -> Request | None:
    if message.topic in event_topics and message.kind not in ("command", "undo", "settled"):
        return _event(message, participant)
    match message.kind:
        case "command":
            return _command(message, participant)
        case "undo":
            return _undo(message, participant)
        case "settled":
            keys = Settled.decode(message.payload).keys
            # It was sent after every attempt, so none of them can expire later than one sent at the same moment.
            last = _sent_at(message) + timedelta(seconds=limits.COMMAND_EXPIRES_S)
            return SettledRequest(keys=keys, expires_at=max(last, _expires_at(message)), at=message)
    raise ValueError(f"kind {message.kind!r} on {message.topic}: a participant takes command, undo and settled there")


def _event(message: Envelope, participant: Participant[Any]) -> EventRequest | None:
    handler = participant.event_handlers.get(message.type)
    if handler is None:
        return None
    try:
        event = handler.event.model_validate_json(json.dumps(avro.decode(message.payload)))
    except (PayloadError, ValidationError):
        event = None  # Perhaps its sender was deployed first: it waits, and is parked if nothing changes.
    return EventRequest(
        event_id=message.id,
        topic=message.topic,
        key=message.key,
        type=message.type,
        payload=message.payload,
        traceparent=message.traceparent,
        event=event,
        handler=handler,
        at=message,
    )


def _command(message: Envelope, participant: Participant[Any]) -> CommandRequest:
    to = ReturnAddress.of(message)
    command, handler, refusal = _understood(message.type, message.payload, participant)
    return CommandRequest(
        key=to.operation_key,
        saga_id=to.saga_id,
        type=message.type,
        attempt=to.attempt,
        reply_to=to.reply_to,
        nonce=to.nonce,
        traceparent=message.traceparent,
        expires_at=_expires_at(message),
        sent_at=_sent_at(message),
        body=message.payload,
        body_hash=body_hash(message.type, message.payload, command),
        command=command,
        handler=handler,
        refusal=refusal,
        at=message,
    )


def _undo(message: Envelope, participant: Participant[Any]) -> UndoRequest:
    to, undo = ReturnAddress.of(message), Undo.decode(message.payload)
    if undo.reply is not None and not avro.is_readable(undo.reply):
        raise avro.SchemaPending(avro.id_in(undo.reply))  # now, while nothing has been done about it
    command, handler, refusal = _understood(message.type, undo.command, participant)
    if message.outcome not in ("done", "unknown"):
        raise ValueError(f"an undo says outcome done or unknown, not {message.outcome!r}")
    return UndoRequest(
        key=to.operation_key,
        saga_id=to.saga_id,
        type=message.type,
        attempt=to.attempt,
        known="done" if message.outcome == "done" else "unknown",
        reply_to=to.reply_to,
        nonce=to.nonce,
        traceparent=message.traceparent,
        expires_at=_expires_at(message),
        sent_at=datetime.fromtimestamp(undo.sent_at_us / 1e6, UTC),
        body=undo.command,
        body_hash=body_hash(message.type, undo.command, command),
        reply=undo.reply,
        command=command,
        handler=handler,
        refusal=refusal,
        at=message,
    )


def _understood(
    type_: str, body: bytes, participant: Participant[Any]
) -> tuple[Command[Any] | None, AnyHandler | None, Problem | None]:
    handler = participant.handlers.get(type_)
    if handler is None:
        text = f"participant {participant.name} has no handler for {type_}: deploy one, or the other way round"
        return None, None, Problem(kind="transient", type="NoHandler", text=text, effect="none")
    try:
        return handler.command.model_validate_json(json.dumps(avro.decode(body))), handler, None
    except (avro.UnknownSchema, ValidationError) as error:
        # A newer schema, a field that this version does not know: the sender was deployed first, the receiver follows.
        return None, None, Problem(kind="transient", type=type(error).__name__, text=_short(error), effect="none")
    except PayloadError as error:
        return None, None, Problem(kind="error", type=type(error).__name__, text=_short(error), effect="none")


def _short(error: Exception) -> str:
    return str(error)[: limits.ERROR_TEXT_CHARS_MAX]


def body_hash(type_: str, body: bytes, command: Command[Any] | None) -> bytes:
    """SHA-256 of what the command says.

    Not of its bytes: a field that a deploy adds with a default would make another command of each resend.
    """
    said = body if command is None else _canonical(command)
    return hashlib.sha256(type_.encode() + b"\x00" + said).digest()


def _canonical(command: Command[Any]) -> bytes:
    return _SORTED(command.model_dump(mode="json", exclude_defaults=True)).encode()


def parsed_command(handler: AnyHandler, body: bytes) -> Command[Any]:
    """A stored command, read again. Raises PayloadError or ValidationError."""
    return handler.command.model_validate_json(json.dumps(avro.decode(body)))


def parsed_reply(handler: AnyHandler, reply: bytes) -> Any:
    """A stored reply, read again. Raises PayloadError or ValidationError."""
    return reply_adapter(handler.command).validate_json(json.dumps(avro.decode(reply)))


def _sent_at(message: Envelope) -> datetime:
    return datetime.fromtimestamp(message.timestamp_ms / 1e3, UTC)


def _expires_at(message: Envelope) -> datetime:
    if message.expires_at is None:
        return _sent_at(message) + timedelta(seconds=limits.COMMAND_EXPIRES_S)
    at = datetime.fromisoformat(message.expires_at)
    return at if at.tzinfo else at.replace(tzinfo=UTC)
