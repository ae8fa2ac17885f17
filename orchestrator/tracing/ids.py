"""Trace and span ids as functions of who a saga is and which of its parts is meant: the same at every replay.

W3C Trace Context: `00-<trace id, 32 hex>-<span id, 16 hex>-<flags>`. A saga that was started inside a trace stays in
it, below the span that started it; so does a child, below its parent's operation. Where the caller's trace is not
sampled, neither is the saga: nobody would find the rest of it.
"""

import hashlib
import re
from dataclasses import dataclass

ROOT = "root"
TAKEN_BACK = "taken_back"  # a child, after its end, at its parent's word

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")


@dataclass(frozen=True, slots=True)
class Caller:
    """The span inside of which a saga was started."""

    trace_id: str
    span_id: str
    sampled: bool


def caller(traceparent: str | None) -> Caller | None:
    """What a header says; None if there is none, or none that can be used."""
    found = _TRACEPARENT.fullmatch(traceparent or "")
    if found is None or not int(found[1], 16) or not int(found[2], 16):
        return None
    return Caller(found[1], found[2], bool(int(found[3], 16) & 1))


def trace_id(uid: str, traceparent: str | None) -> str:
    """The caller's trace if the start carried one, otherwise made of the saga's uid."""
    given = caller(traceparent)
    return _hex(uid, 16) if given is None else given.trace_id


def span_id(uid: str, part: str) -> str:
    """The span of one part of a saga: `root`, an operation's seq, or `3:undo`."""
    return _hex(f"{uid}:0:{part}", 8)


def undo_part(seq: int) -> str:
    """The part that is the undo of an operation."""
    return f"{seq}:undo"


def is_sampled(traceparent: str | None) -> bool:
    """A trace that begins with us is kept."""
    given = caller(traceparent)
    return given is None or given.sampled


def header(uid: str, traceparent: str | None, part: str) -> str:
    """What travels with a message: whoever handles it continues the part's span."""
    flags = "01" if is_sampled(traceparent) else "00"
    return f"00-{trace_id(uid, traceparent)}-{span_id(uid, part)}-{flags}"


def _hex(text: str, size: int) -> str:
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()
