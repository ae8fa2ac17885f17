"""One text for one input, its hash, and which ids are fit to travel: what client, engine and children must agree on.

The same id with the same input is the same saga; so two programs that mean the same input must come to the same bytes.
"""

import hashlib
import json
from typing import Any

from orchestrator import limits
from orchestrator.errors import PayloadError, RequestError


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no blanks. Raises PayloadError for NaN, infinities, lone surrogates and non-JSON."""
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        text.encode("utf-8")
        if "\\u0000" in text and _has_nul(value):
            raise ValueError("a text holds a NUL character")
    except (TypeError, ValueError, RecursionError) as error:  # UnicodeEncodeError is a ValueError
        raise PayloadError(f"not a JSON value that can be stored: {error}") from None
    if len(text) > limits.PAYLOAD_BYTES_MAX:
        raise PayloadError(
            f"{len(text):,} characters of JSON; the limit is {limits.PAYLOAD_BYTES_MAX:,}. "
            "Store it elsewhere and pass where it is"
        )
    return text


def input_hash(saga_type: str, input_json: str) -> bytes:
    """SHA-256 of a saga's type and its canonical input."""
    return hashlib.sha256(f"{saga_type}\x00{input_json}".encode()).digest()


def checked_saga_id(saga_id: str) -> str:
    """The id, if it can be a Kafka key, a column and a line of a table. Raises RequestError."""
    return _checked("a saga's id", saga_id, limits.SAGA_ID_CHARS_MAX, empty=False)


def checked_name(what: str, name: str, *, empty: bool = False) -> str:
    """A type, a channel, a value's key. Raises RequestError; `what` begins its text."""
    return _checked(what, name, limits.NAME_CHARS_MAX, empty=empty)


def checked_note(note: str, *, empty: bool = False) -> str:
    """The note of a verb: kept as the audit trail. Raises RequestError."""
    if "\n" in note or "\t" in note:
        note = " ".join(note.split())
    return _checked("a note", note, limits.ERROR_TEXT_CHARS_MAX, empty=empty)


def _checked(what: str, text: str, chars_max: int, *, empty: bool) -> str:
    if not isinstance(text, str):
        raise RequestError(f"{what} is a string, not {type(text).__name__}")
    if not text and not empty:
        raise RequestError(f"{what} can't be empty")
    if len(text) > chars_max:
        raise RequestError(f"{what} has {len(text)} characters; the limit is {chars_max}: {text[:40]!r}…")
    unfit = next((c for c in text if ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000), None)
    if unfit is not None:
        raise RequestError(f"{what} can't hold the character {unfit!r}: {text[:40]!r}")
    return text


def _has_nul(value: Any) -> bool:
    match value:
        case str():
            return "\x00" in value
        case dict():
            return any(_has_nul(key) or _has_nul(item) for key, item in value.items())
        case list() | tuple():
            return any(map(_has_nul, value))
    return False
