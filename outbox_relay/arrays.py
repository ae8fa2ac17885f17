"""Lists as Postgres arrays, written at the speed of str.join: psycopg's own dumper tries a regular expression on each
item, and a batch of a thousand rows has ten thousand of them (it was a tenth of an orchestrator's CPU).
"""

from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.types.array import ListDumper

_TEXTS, _NUMBERS = {str}, {int}


class ArrayDumper(ListDumper):
    """Lists of str or of int, None among them; every other list is psycopg's to dump. Raises what psycopg raises."""

    def dump(self, obj: list[Any]) -> Buffer | None:
        kinds = set(map(type, obj))
        kinds.discard(type(None))
        if kinds == _TEXTS:
            return _texts(obj).encode()
        if kinds == _NUMBERS:
            return f"{{{','.join('NULL' if item is None else str(item) for item in obj)}}}".encode()
        return super().dump(obj)


def register(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
    """Use it for every list that this connection sends as text."""
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
