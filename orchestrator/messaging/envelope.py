"""A message as it came from Kafka, with our headers read. Bytes stay bytes here: `messaging.avro` decodes the payload.

Anybody may write to a topic, so nothing is believed: every header has a length, is text, and occurs once.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from orchestrator import limits
from outbox_relay.rows import HEADER_COLUMNS

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
    "child_settle",
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


KINDS: frozenset[str] = frozenset(get_args(Kind))
HEADERS_MAX = 64
_ATTEMPT_DIGITS_MAX = 9
_READ = frozenset({"id", "type", *HEADER_COLUMNS})

Headers = Iterable[tuple[str, bytes | None]]


def read_envelope(
    *,
    topic: str,
    partition: int,
    offset: int,
    timestamp_ms: int,
    key: bytes | None,
    headers: Headers,
    payload: bytes | None,
) -> Envelope | Unreadable:
    """Read our headers. A null header is a missing one: that is how Debezium sends an empty column.

    A message without `kind` is not of ours but may still be an event: what it needs is `id`, `type` and a payload.
    """
    listed = tuple(headers)
    try:
        found = _our_headers(listed)
        return Envelope(
            topic=topic,
            partition=partition,
            offset=offset,
            timestamp_ms=timestamp_ms,
            key=_text("key", key or b""),
            payload=_payload(payload),
            **found,
        )
    except _Bad as error:
        return Unreadable(
            topic=topic,
            partition=partition,
            offset=offset,
            headers=listed[:HEADERS_MAX],
            payload=payload,
            error=str(error),
        )


class _Bad(Exception):
    """Why a message is none of ours."""


def _our_headers(headers: tuple[tuple[str, bytes | None], ...]) -> dict[str, Any]:
    if len(headers) > HEADERS_MAX:
        raise _Bad(f"{len(headers)} headers, more than {HEADERS_MAX}")
    found: dict[str, Any] = {}
    for name, value in headers:
        if name not in _READ or value is None:
            continue
        if name in found:
            raise _Bad(f"header {name} comes twice")
        found[name] = _text(f"header {name}", value)
    for name in ("id", "type"):
        if not found.get(name):
            raise _Bad(f"no header {name}: messages for Amends come through an outbox")
    if (kind := found.setdefault("kind", None)) is not None and kind not in KINDS:
        raise _Bad(f"kind {kind!r} is not one of {', '.join(sorted(KINDS))}")
    if (attempt := found.pop("attempt", None)) is not None:
        found["attempt"] = _attempt(attempt)
    return found


def _text(what: str, value: bytes) -> str:
    if len(value) > limits.HEADER_BYTES_MAX:
        raise _Bad(f"{what} has {len(value)} bytes, more than {limits.HEADER_BYTES_MAX}")
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise _Bad(f"{what} is not UTF-8: {value[:40]!r}") from None
    if "\x00" in text:
        raise _Bad(f"{what} holds a NUL character")
    return text


def _attempt(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _ATTEMPT_DIGITS_MAX) or int(text) < 1:
        raise _Bad(f"header attempt is {text!r}, not a number from 1")
    return int(text)


def _payload(payload: bytes | None) -> bytes:
    if payload is None:
        raise _Bad("no payload (a tombstone)")
    return payload
