"""The lists that a batch sends as arrays, written as a whole where that can be done.

A batch of a hundred commands has some two thousand texts in its arrays, and nearly none that needs a backslash; and
psycopg writes each `bytes` of a list by a dumper of its own.
"""

import struct
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.types.array import ListBinaryDumper

from outbox_relay.arrays import ArrayDumper

_BYTEA_OID = 17
_HEAD, _LENGTH = struct.Struct("!IIIII"), struct.Struct("!i")
_NULL = _LENGTH.pack(-1)


class TextArrayDumper(ArrayDumper):
    """Lists as text: all of them texts, or all of them None; every other list is ArrayDumper's."""

    def dump(self, obj: list[Any]) -> Buffer | None:
        try:
            text = '","'.join(obj)
        except TypeError:
            if obj.count(None) == len(obj) > 0:
                return f"{{{','.join(['NULL'] * len(obj))}}}".encode()
            return super().dump(obj)
        if not obj or "\\" in text or "\0" in text or text.count('"') != 2 * (len(obj) - 1):
            return super().dump(obj)
        return f'{{"{text}"}}'.encode()


class BytesArrayDumper(ListBinaryDumper):
    """Lists as binary: of bytes, None among them; every other list is psycopg's."""

    def dump(self, obj: list[Any]) -> Buffer | None:
        kinds = set(map(type, obj))
        kinds.discard(type(None))
        return _bytea_array(obj) if kinds == {bytes} else super().dump(obj)


def register(connection: psycopg.AsyncConnection[Any]) -> None:
    """Use them for every list that this connection sends."""
    connection.adapters.register_dumper(list, BytesArrayDumper)
    connection.adapters.register_dumper(list, TextArrayDumper)


def _bytea_array(items: Sequence[bytes | None]) -> bytes:
    """As array_recv of PostgreSQL reads it: dimensions, whether there are NULLs, type, length, first index; items."""
    parts = [_HEAD.pack(1, None in items, _BYTEA_OID, len(items), 1)]
    for item in items:
        if item is None:
            parts.append(_NULL)
        else:
            parts += _LENGTH.pack(len(item)), item
    return b"".join(parts)
