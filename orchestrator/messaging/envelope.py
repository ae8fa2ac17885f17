"""A message as it came from Kafka, with our headers read. Bytes stay bytes here: `messaging.avro` decodes the payload."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "command",
    "undo",
    "settled",
    "start",
    "message",
    "reply",
    "undone",
    "child_ended",
    "child_undo",
    "event",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """`key` is Kafka's key. A header that is missing or null is None; see outbox_relay.rows for what each means."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: str
    id: str
    type: str
    kind: str | None
    payload: bytes
    saga_id: str | None = None
    operation_key: str | None = None
    attempt: int = 1
    reply_to: str | None = None
    outcome: str | None = None
    nonce: str | None = None
    expires_at: str | None = None
    channel: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A message that is none of ours: a header that is missing, too long or not text. It goes to the dead letters."""

    topic: str
    partition: int
    offset: int
    headers: tuple[tuple[str, bytes | None], ...]
    payload: bytes | None
    error: str
