"""The stream's bytes, made here as the documentation of the protocol says, and read by the decoder."""

import struct
import uuid

import pytest

from outbox_relay.pgoutput import Begin, Commit, Decoder, ProtocolError
from outbox_relay.rows import HEADER_COLUMNS, StoredRow

COLUMNS = ("seq", "id", "aggregatetype", "aggregateid", "type", "payload", "timestamp", "partition", *HEADER_COLUMNS)
ID = uuid.UUID("0192aa00-1111-7222-8333-444455556666")


def relation(columns: tuple[str, ...] = COLUMNS, oid: int = 16_400) -> bytes:
    head = b"R" + struct.pack(">I", oid) + b"amends\0outbox\0d" + struct.pack(">h", len(columns))
    return head + b"".join(
        struct.pack(">b", 0) + name.encode() + b"\0" + struct.pack(">Ii", 25, -1) for name in columns
    )


def insert(values: list[bytes | None], oid: int = 16_400) -> bytes:
    head = b"I" + struct.pack(">I", oid) + b"N" + struct.pack(">h", len(values))
    return head + b"".join(b"n" if v is None else b"b" + struct.pack(">i", len(v)) + v for v in values)


def values(**changed: bytes | None) -> list[bytes | None]:
    row: dict[str, bytes | None] = {
        "seq": struct.pack(">q", 40_210),
        "id": ID.bytes,
        "aggregatetype": b"payments.commands",
        "aggregateid": "o-é".encode(),
        "type": b"ChargeCard",
        "payload": b"\xc3\x01\x00",
        "timestamp": struct.pack(">q", 1_999),
        "partition": struct.pack(">i", 2),
        "kind": b"command",
        "attempt": struct.pack(">i", 3),
    }
    return [(row | changed).get(name) for name in COLUMNS]


def test_an_insert_becomes_a_row() -> None:
    decoder = Decoder()
    assert decoder.feed(relation()) is None
    assert decoder.feed(insert(values())) == StoredRow(
        seq=40_210,
        id=str(ID).encode(),
        topic="payments.commands",
        partition=2,
        key="o-é",
        type=b"ChargeCard",
        payload=b"\xc3\x01\x00",
        timestamp_ms=946_684_800_001,  # microseconds since 2000, rounded down
        columns=[{"kind": b"command", "attempt": b"3"}.get(name) for name in HEADER_COLUMNS],
    )


def test_null_and_empty_payloads_differ() -> None:
    decoder = Decoder()
    decoder.feed(relation())
    for payload in (None, b""):
        row = decoder.feed(insert(values(payload=payload)))
        assert isinstance(row, StoredRow)
        assert row.payload == payload


def test_a_row_of_nothing_but_nulls_in_its_headers_and_one_without_a_null() -> None:
    decoder = Decoder()
    decoder.feed(relation())
    bare = decoder.feed(insert(values(kind=None, attempt=None)))
    assert isinstance(bare, StoredRow)
    assert set(bare.columns) == {None}
    texts: dict[str, bytes | None] = {name: name.encode() for name in HEADER_COLUMNS}
    full = decoder.feed(insert(values(**texts | {"attempt": struct.pack(">i", 2_000_000)})))
    assert isinstance(full, StoredRow)
    assert full.columns == [b"2000000" if name == "attempt" else name.encode() for name in HEADER_COLUMNS]


def test_columns_are_found_by_name_and_further_ones_ignored() -> None:
    decoder = Decoder()
    decoder.feed(relation(("added_later", *reversed(COLUMNS))))
    row = decoder.feed(insert([b"?", *reversed(values())]))
    assert isinstance(row, StoredRow)
    assert (row.seq, row.key, row.columns[0]) == (40_210, "o-é", b"command")


def test_marks_of_a_transaction() -> None:
    decoder = Decoder()
    assert decoder.feed(b"B" + struct.pack(">QqI", 77, 0, 4_000_000_000)) == Begin(77, 4_000_000_000)
    assert decoder.feed(b"C" + struct.pack(">BQQq", 0, 77, 99, 0)) == Commit(99)
    assert decoder.feed(b"O" + bytes(8) + b"origin\0") is None


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"Z", "unknown kind b'Z'"),
        (relation(tuple(name for name in COLUMNS if name != "nonce")), "no column 'nonce': run `amends migrate`"),
        (
            b"I" + struct.pack(">I", 16_400) + b"N" + struct.pack(">h", 1) + b"t" + struct.pack(">i", 1) + b"1",
            "kind 't'",
        ),
    ],
)
def test_what_it_does_not_know_is_an_error(data: bytes, said: str) -> None:
    decoder = Decoder()
    decoder.feed(relation())
    with pytest.raises(ProtocolError, match=said):
        decoder.feed(data)
