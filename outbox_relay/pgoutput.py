"""Bytes of the replication stream -> transactions' marks and outbox rows. Pure: no socket, no clock.

Source: PostgreSQL's documentation, "Logical Replication Message Formats", protocol version 1 with `binary 'true'`.
Columns are found by name in the Relation message, so a column that is added while we listen harms nothing.
"""

import struct
from binascii import hexlify
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import TypeAlias

from outbox_relay.rows import HEADER_COLUMNS, StoredRow

OPTIONS = "proto_version '1', publication_names 'amends_outbox', binary 'true'"
_EPOCH_MS = 946_684_800_000  # 2000-01-01, where Postgres's timestamps begin
_OWN = ("seq", "id", "aggregatetype", "partition", "aggregateid", "type", "payload", "timestamp")
_WANTED = (*_OWN, *HEADER_COLUMNS)
_ATTEMPT = HEADER_COLUMNS.index("attempt")  # the one that is a number in the table
_U64, _I64, _I32, _I16, _U32 = (struct.Struct(f) for f in (">Q", ">q", ">i", ">h", ">I"))
_INSERT = struct.Struct(">xIxh")  # its kind, the relation, N for a new tuple, and how many columns
_column = struct.Struct(">Bi").unpack_from  # its kind and its size at once; the size of a NULL is what comes next
_PAD = bytes(4)  # comes next where the last column is NULL
_UUID_PARTS = struct.Struct("8s4s4s4s12s")  # of its hexadecimal digits, as they are written with - in between

Value: TypeAlias = bytes | None


class ProtocolError(Exception):
    """The stream says something that this module does not know."""


@dataclass(frozen=True, slots=True)
class Begin:
    """A transaction that has committed at `lsn`; its rows follow. `xid` has 32 bits."""

    lsn: int
    xid: int


@dataclass(frozen=True, slots=True)
class Commit:
    """All rows of the transaction have been told; the stream goes on at `end_lsn`."""

    end_lsn: int


Message: TypeAlias = Begin | Commit | StoredRow | None


class Decoder:
    """Turns one message after the other into what the relay wants; the rest is None."""

    def __init__(self) -> None:
        self._pick: dict[int, Callable[[list[Value]], tuple[Value, ...]]] = {}  # the values of _WANTED, by relation

    def feed(self, data: bytes) -> Message:
        """Decode one message, as it stands in one XLogData."""
        match data[:1]:
            case b"I":
                return self._insert(data)
            case b"B":
                return Begin(_U64.unpack_from(data, 1)[0], _U32.unpack_from(data, 17)[0])
            case b"C":
                return Commit(_U64.unpack_from(data, 10)[0])
            case b"R":
                self._relation(data)
                return None
            case b"Y" | b"O" | b"T" | b"M" | b"U" | b"D":
                return None  # types, origins, truncates: nothing to send; the publication has no updates and deletes
            case kind:
                raise ProtocolError(f"pgoutput message of unknown kind {kind!r}")

    def _relation(self, data: bytes) -> None:
        (relation,) = _U32.unpack_from(data, 1)
        at = data.index(b"\0", data.index(b"\0", 5) + 1) + 2  # past namespace, name and replica identity
        (count,) = _I16.unpack_from(data, at)
        at += 2
        names = []
        for _ in range(count):
            end = data.index(b"\0", at + 1)
            names.append(data[at + 1 : end].decode())
            at = end + 9
        missing = set(_WANTED) - set(names)
        if missing:
            raise ProtocolError(f"the published table has no column {min(missing)!r}: run `amends migrate`")
        self._pick[relation] = itemgetter(*(names.index(name) for name in _WANTED))

    def _insert(self, data: bytes) -> StoredRow:
        relation, count = _INSERT.unpack_from(data)
        padded, at = data + _PAD, _INSERT.size
        values: list[Value] = [None] * count
        for n in range(count):
            kind, size = _column(padded, at)
            if kind == 0x62:  # b: binary
                begin = at + 5
                at = begin + size
                values[n] = data[begin:at]
            elif kind == 0x6E:  # n: NULL
                at += 1
            else:
                raise ProtocolError(f"pgoutput column of kind {chr(kind)!r}, expected binary")
        return _row(self._pick[relation](values))


def _row(values: tuple[Value, ...]) -> StoredRow:
    seq, id, topic, partition, key, type, payload, timestamp, *columns = values
    assert seq is not None, "a column that is NOT NULL"
    assert id is not None
    assert topic is not None
    assert partition is not None
    assert key is not None
    assert type is not None
    assert timestamp is not None
    if (attempt := columns[_ATTEMPT]) is not None:
        columns[_ATTEMPT] = b"%d" % _I32.unpack(attempt)[0]
    return StoredRow(
        _I64.unpack(seq)[0],
        b"-".join(_UUID_PARTS.unpack(hexlify(id))),
        topic.decode(),
        _I32.unpack(partition)[0],
        key.decode(),
        type,
        payload,
        _EPOCH_MS + _I64.unpack(timestamp)[0] // 1000,
        columns,
    )
