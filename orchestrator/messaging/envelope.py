"""A message as it came from Kafka, with our headers read. Bytes stay bytes here: `messaging.avro` decodes the payload.

Anybody may write to a topic, so nothing is believed: every header has a length, is text, and occurs once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

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


class Envelope(NamedTuple):
    """`key` is Kafka's key. A header that is missing or null is None; see outbox_relay.rows for what each means.

    A NamedTuple, for there is one a message: a frozen dataclass of as many fields takes five times as long to make.
    """

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
_KEY = "key of the message"  # no header of ours has this name

Headers = Sequence[tuple[str, bytes | None]]


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
    try:
        if payload is None:
            raise _Bad("no payload (a tombstone)")
        found = _our_texts(headers, key or b"")
        get = found.get
        return Envelope(
            topic,
            partition,
            offset,
            timestamp_ms,
            found[_KEY],
            _needed("id", get("id")),
            _needed("type", get("type")),
            _kind(get("kind")),
            payload,
            get("saga_id"),
            get("operation_key"),
            _attempt(get("attempt")),
            get("reply_to"),
            get("outcome"),
            get("nonce"),
            get("expires_at"),
            get("channel"),
            get("traceparent"),
        )
    except _Bad as error:
        return Unreadable(
            topic=topic,
            partition=partition,
            offset=offset,
            headers=tuple(headers[:HEADERS_MAX]),
            payload=payload,
            error=str(error),
        )


class _Bad(Exception):
    """Why a message is none of ours."""


def _our_texts(headers: Headers, key: bytes) -> dict[str, str]:
    """The texts of our headers, and of the key under _KEY. What is wrong with one is looked for when something is."""
    if len(headers) > HEADERS_MAX:
        raise _Bad(f"{len(headers)} headers, more than {HEADERS_MAX}")
    found: dict[str, str] = {}
    size = len(key)
    try:
        for name, value in headers:
            if value is None or name not in _READ:
                continue
            if name in found:
                raise _Bad(f"header {name} comes twice")
            found[name] = value.decode()
            size += len(value)
        found[_KEY] = key.decode()
    except UnicodeDecodeError:
        _look_at_each(headers, key)  # raises, and says which
        raise
    # All at once: one that is too long makes them too long together, and there is seldom a NUL.
    if size > limits.HEADER_BYTES_MAX or "\x00" in "".join(found.values()):
        _look_at_each(headers, key)
    return found


def _look_at_each(headers: Headers, key: bytes) -> None:
    _check("key", key)
    for name, value in headers:
        if value is not None and name in _READ:
            _check(f"header {name}", value)


def _check(what: str, value: bytes) -> None:
    if len(value) > limits.HEADER_BYTES_MAX:
        raise _Bad(f"{what} has {len(value)} bytes, more than {limits.HEADER_BYTES_MAX}")
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise _Bad(f"{what} is not UTF-8: {value[:40]!r}") from None
    if "\x00" in text:
        raise _Bad(f"{what} holds a NUL character")


def _needed(name: str, text: str | None) -> str:
    if not text:
        raise _Bad(f"no header {name}: messages for Amends come through an outbox")
    return text


def _kind(text: str | None) -> str | None:
    if text is not None and text not in KINDS:
        raise _Bad(f"kind {text!r} is not one of {', '.join(sorted(KINDS))}")
    return text


def _attempt(text: str | None) -> int:
    if text is None or text == "1":
        return 1
    if not (text.isascii() and text.isdigit() and len(text) <= _ATTEMPT_DIGITS_MAX) or int(text) < 1:
        raise _Bad(f"header attempt is {text!r}, not a number from 1")
    return int(text)
