"""Lists as Postgres arrays, written as a whole where that can be done.

psycopg's own dumper tries a regular expression on each text of a list, and asks another dumper for each of `bytes`: a
batch of a thousand rows has ten thousand of them (it was a tenth of an orchestrator's CPU). Nearly no text in them
needs a backslash.
"""

import struct
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.types.array import ListBinaryDumper, ListDumper

_BYTEA_OID = 17
_HEAD, _LENGTH = struct.Struct("!IIIII"), struct.Struct("!i")
_NULL = _LENGTH.pack(-1)


class ArrayDumper(ListDumper):
    """As text: lists of str or of int, None among them; every other list is psycopg's. Raises what psycopg raises."""

    def dump(self, obj: list[Any]) -> Buffer | None:
        try:
            text = '","'.join(obj)
        except TypeError:
            return self._mixed(obj)
        if not obj or "\\" in text or "\0" in text or text.count('"') != 2 * (len(obj) - 1):
            return self._mixed(obj)
        return f'{{"{text}"}}'.encode()

    def _mixed(self, obj: list[Any]) -> Buffer | None:
        kinds = set(map(type, obj))
        kinds.discard(type(None))
        if kinds == {str}:
            return _texts(obj).encode()
        if kinds == {int} or (not kinds and obj):
            return f"{{{','.join('NULL' if item is None else str(item) for item in obj)}}}".encode()
        return super().dump(obj)


class BytesArrayDumper(ListBinaryDumper):
    """As binary: lists of bytes, None among them; every other list is psycopg's."""

    def dump(self, obj: list[Any]) -> Buffer | None:
        kinds = set(map(type, obj))
        kinds.discard(type(None))
        return _bytea_array(obj) if kinds == {bytes} else super().dump(obj)


def register(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
    """Use them for every list that this connection sends."""
    connection.adapters.register_dumper(list, BytesArrayDumper)
    connection.adapters.register_dumper(list, ArrayDumper)


def _texts(items: list[str | None]) -> str:
    """Quoted, all of them: what need not be may be."""
    quoted = [
        '"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"' if item is not None else "NULL" for item in items
    ]
    text = f"{{{','.join(quoted)}}}"
    if "\0" in text:
        raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
    return text


def _bytea_array(items: Sequence[bytes | None]) -> bytes:
    """As array_recv of PostgreSQL reads it: dimensions, whether there are NULLs, type, length, first index; items."""
    parts = [_HEAD.pack(1, None in items, _BYTEA_OID, len(items), 1)]
    for item in items:
        if item is None:
            parts.append(_NULL)
        else:
            parts += _LENGTH.pack(len(item)), item
    return b"".join(parts)
