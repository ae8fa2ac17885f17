"""Table amends.outbox: insert, scan from the safe floor, delete after the ack, and how long rows have been waiting.

The statements are psycopg's, for sync and async connections and for pipelines. Rows are inserted, never updated, and
deleted only after the broker has acknowledged them: the table is the truth about what has not been sent.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

from outbox_relay.errors import RowRefused, RowTooLarge, TopicUnknown
from outbox_relay.failpoints import failpoint
from outbox_relay.limits import (
    HEADER_CHARS_MAX,
    KEY_CHARS_MAX,
    PENDING_ROWS_MAX,
    ROW_BYTES_MAX,
    TOPIC_CHARS_MAX,
    TYPE_CHARS_MAX,
)
from outbox_relay.postgres import Session
from outbox_relay.rows import HEADER_COLUMNS, Row, StoredRow, murmur2

# Rows in the given order. The numbers of `seq` are given in that order too: the defaults are computed above the sort.
INSERT_MANY: LiteralString = """
    INSERT INTO amends.outbox (id, aggregatetype, aggregateid, type, payload, partition,
        kind, saga_id, operation_key, attempt, reply_to, outcome, nonce, expires_at, channel, traceparent)
    SELECT coalesce(r.id, gen_random_uuid()), r.aggregatetype, r.aggregateid, r.type, r.payload, r.partition,
        r.kind, r.saga_id, r.operation_key, r.attempt, r.reply_to, r.outcome, r.nonce, r.expires_at, r.channel,
        r.traceparent
    FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %b::bytea[], %s::int[],
        %s::text[], %s::text[], %s::text[], %s::int[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
        %s::text[]) WITH ORDINALITY AS r(id, aggregatetype, aggregateid, type, payload, partition,
        kind, saga_id, operation_key, attempt, reply_to, outcome, nonce, expires_at, channel, traceparent, n)
    ORDER BY r.n
"""

# The partition is murmur2 of the key over the topic's partitions, unless it is given. No row: see `why_refused`.
INSERT_ONE: LiteralString = """
    INSERT INTO amends.outbox (id, aggregatetype, aggregateid, type, payload, partition,
        kind, saga_id, operation_key, attempt, reply_to, outcome, nonce, expires_at, channel, traceparent)
    SELECT coalesce(CAST(%(id)s AS uuid), gen_random_uuid()), t.topic, CAST(%(key)s AS text), CAST(%(type)s AS text),
        CAST(%(payload)s AS bytea), coalesce(CAST(%(partition)s AS int), CAST(%(hash)s AS int) %% t.partitions),
        CAST(%(kind)s AS text), CAST(%(saga_id)s AS text), CAST(%(operation_key)s AS text), CAST(%(attempt)s AS int),
        CAST(%(reply_to)s AS text), CAST(%(outcome)s AS text), CAST(%(nonce)s AS text), CAST(%(expires_at)s AS text),
        CAST(%(channel)s AS text), CAST(%(traceparent)s AS text)
    FROM amends.topics t
    WHERE t.topic = CAST(%(topic)s AS text) AND coalesce(CAST(%(partition)s AS int), 0) BETWEEN 0 AND t.partitions - 1
    RETURNING id
"""

# `wal` is read after the snapshot was taken: all that the snapshot shows was committed before it.
LOOK: LiteralString = "SELECT pg_current_snapshot()::text, pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
# The last number taken (a fresh sequence says 1, and 1 is not taken yet), and then a transaction id of our own: whoever
# took a number up to there has a smaller one. A snapshot's xmax would not do: it is one past the highest id that has
# ENDED, so transactions that are running may lie beyond it.
MARK: LiteralString = """
    SELECT s.last_value - (NOT s.is_called)::int, pg_current_xact_id()::text::bigint FROM amends.outbox_seq_seq s
"""
# Rows of any size up to a number of bytes, but always one. `scanned` tells whether it was the rows that ended.
SCAN: LiteralString = """
    SELECT seq, id::text, aggregatetype, partition, aggregateid, type, payload,
        (floor(extract(epoch FROM "timestamp") * 1000))::bigint,
        kind, saga_id, operation_key, attempt::text, reply_to, outcome, nonce, expires_at, channel, traceparent,
        scanned
    FROM (
        SELECT *, sum(coalesce(octet_length(payload), 0)) OVER (ORDER BY seq) AS bytes, count(*) OVER () AS scanned
        FROM (
            SELECT * FROM amends.outbox WHERE seq >= %s AND seq <> ALL(%s::bigint[]) ORDER BY seq LIMIT %s
        ) AS next
    ) AS counted
    WHERE bytes - coalesce(octet_length(payload), 0) < %s
    ORDER BY seq
"""

# Acknowledged: the row goes. Starts, messages and events are kept for a while with the id of the topic that they were
# sent to, as it was known before the send. Returns what was found: decoding can run ahead of visibility.
DELETE_SENT: LiteralString = """
    WITH acked AS (
        SELECT * FROM unnest(%s::bigint[], %s::text[]) AS a(seq, topic_id)
    ), gone AS (
        DELETE FROM amends.outbox o USING acked a WHERE o.seq = a.seq RETURNING o.*, a.topic_id
    ), kept AS (
        INSERT INTO amends.outbox_sent (topic_id, seq, id, aggregatetype, aggregateid, type, payload, "timestamp",
            partition, kind, saga_id, operation_key, attempt, reply_to, outcome, nonce, expires_at, channel,
            traceparent)
        SELECT topic_id, seq, id, aggregatetype, aggregateid, type, payload, "timestamp",
            partition, kind, saga_id, operation_key, attempt, reply_to, outcome, nonce, expires_at, channel,
            traceparent
        FROM gone WHERE kind IN ('start', 'message', 'event') OR kind IS NULL
    )
    SELECT seq FROM gone
"""
# The same for rows that are not kept, which most are: at less than half of the cost, for nothing is read but the key.
DELETE_UNKEPT: LiteralString = """
    DELETE FROM amends.outbox WHERE seq = ANY(%s::bigint[]) AND kind NOT IN ('start', 'message', 'event')
    RETURNING seq
"""

PENDING: LiteralString = """
    SELECT aggregatetype, partition, count(*),
        extract(epoch FROM (clock_timestamp() AT TIME ZONE 'UTC') - min("timestamp"))::float8
    FROM (
        SELECT aggregatetype, partition, "timestamp" FROM amends.outbox ORDER BY seq LIMIT %(rows_max)s::int
    ) AS oldest
    GROUP BY aggregatetype, partition
"""
PENDING_OPERATIONS: LiteralString = """
    SELECT DISTINCT operation_key FROM amends.outbox WHERE operation_key = ANY(%s::text[])
"""

UTF8_BYTES_MAX = 4  # a character
_HEADERS = frozenset(HEADER_COLUMNS)
_KIND = HEADER_COLUMNS.index("kind")
_KEPT_KINDS = frozenset({b"start", b"message", b"event", None})  # as in DELETE_SENT


@dataclass(frozen=True, slots=True)
class Pending:
    """What waits in the outbox for one partition: `count` is capped by PENDING_ROWS_MAX over all, `age_s` is not."""

    topic: str
    partition: int
    count: int
    age_s: float


def check(row: Row) -> None:
    """Refuse a row that no relay could ever deliver, while its author can still do something about it."""
    headers = row.headers
    texts = (row.topic, row.key, row.type, *headers.values())
    together = "".join(texts)
    if (
        "\0" not in together
        and max(map(len, texts)) <= TOPIC_CHARS_MAX
        and len(row.payload) + len(together) * UTF8_BYTES_MAX <= ROW_BYTES_MAX
        and headers.keys() <= _HEADERS
    ):
        return  # As nearly all are: each row of each turn comes by here.
    _say_what_is_wrong(row)


def _say_what_is_wrong(row: Row) -> None:
    if not row.headers.keys() <= _HEADERS:
        name = min(row.headers.keys() - _HEADERS)
        raise RowRefused(
            f"row for {row.topic}: no column for header {name!r}. Nothing was added. "
            f"Headers are columns of amends.outbox: {', '.join(HEADER_COLUMNS)}. Put the rest into the payload."
        )
    _check_text(row, "topic", row.topic, TOPIC_CHARS_MAX)
    _check_text(row, "key", row.key, KEY_CHARS_MAX)
    _check_text(row, "type", row.type, TYPE_CHARS_MAX)
    for name, text in row.headers.items():
        _check_text(row, name, text, HEADER_CHARS_MAX)
    size = len(row.payload) + len(row.key.encode()) + sum(map(len, row.headers.values()))
    if size > ROW_BYTES_MAX:
        raise RowTooLarge(
            f"row for {row.topic}, key {row.key!r}: {size:,} bytes, at most {ROW_BYTES_MAX:,}. Nothing was added. "
            "Store the content elsewhere and send a reference."
        )


def insert_params(rows: Sequence[Row], partitions: Callable[[str], int]) -> tuple[list[Any], ...]:
    """Return the parameters of INSERT_MANY. `partitions(topic)` counts a topic's, and raises TopicUnknown."""
    for row in rows:
        check(row)
    headers = [row.headers for row in rows]
    columns = [
        [given.get(name) for given in headers] if name != "attempt" else [_attempt(given) for given in headers]
        for name in HEADER_COLUMNS
    ]
    return (
        [row.id for row in rows],
        [row.topic for row in rows],
        [row.key for row in rows],
        [row.type for row in rows],
        [row.payload for row in rows],
        [_partition(row, partitions) for row in rows],
        *columns,
    )


def insert_one_params(row: Row) -> dict[str, Any]:
    """Return the parameters of INSERT_ONE."""
    check(row)
    headers = {name: row.headers.get(name) for name in HEADER_COLUMNS} | {"attempt": _attempt(row.headers)}
    own = {"id": row.id, "topic": row.topic, "key": row.key, "type": row.type, "payload": row.payload}
    return own | {"partition": row.partition, "hash": murmur2(row.key.encode())} | headers


def why_refused(row: Row, known: int | None) -> RowRefused:
    """Say why INSERT_ONE added nothing; `known` is the topic's number of partitions in amends.topics."""
    if known is None:
        return TopicUnknown(row.topic)
    return RowRefused(
        f"row for {row.topic}: partition {row.partition} of {known}. Nothing was added. "
        "Leave `partition` out, or run `amends migrate` if the topic has grown."
    )


def pending(session: Session) -> list[Pending]:
    """What is not acknowledged yet, of the oldest PENDING_ROWS_MAX rows."""
    return [Pending(*values) for values in session.execute(PENDING, {"rows_max": PENDING_ROWS_MAX}).fetchall()]


def delete_sent(session: Session, seqs: list[int], topic_ids: list[str | None]) -> list[int]:
    """Delete acknowledged rows; return those that were found: decoding can run ahead of visibility."""
    failpoint("relay.delete.before")
    found = session.execute(DELETE_SENT, (seqs, topic_ids)).fetchall()
    failpoint("relay.delete.after")
    return [seq for (seq,) in found]


def delete_unkept(session: Session, seqs: list[int]) -> list[int]:
    """As `delete_sent`, for rows of which `is_kept` says no; others stay where they are."""
    failpoint("relay.delete.before")
    found = session.execute(DELETE_UNKEPT, (seqs,)).fetchall()
    failpoint("relay.delete.after")
    return [seq for (seq,) in found]


def is_kept(row: StoredRow) -> bool:
    """Whether it goes to amends.outbox_sent when it is acknowledged."""
    return row.columns[_KIND] in _KEPT_KINDS


def stored(values: Sequence[Any]) -> StoredRow:
    """Make a row of what SCAN returned, without its last column."""
    seq, id, topic, partition, key, type, payload, timestamp_ms = values[:8]
    columns = [None if text is None else text.encode() for text in values[8:18]]
    return StoredRow(seq, id.encode(), topic, partition, key, type.encode(), payload, timestamp_ms, columns)


def _check_text(row: Row, name: str, text: str, chars_max: int) -> None:
    if len(text) > chars_max or "\0" in text:
        raise RowRefused(
            f"row for {row.topic}: its {name} has {len(text):,} characters (at most {chars_max:,}) or a NUL. "
            "Nothing was added."
        )


def _attempt(headers: Mapping[str, str]) -> int | None:
    text = headers.get("attempt")
    if text is None:
        return None
    if not text.isdecimal():
        raise RowRefused(f"header attempt is {text!r}, not a decimal number. Nothing was added.")
    return int(text)


def _partition(row: Row, partitions: Callable[[str], int]) -> int:
    count = partitions(row.topic)
    if row.partition is None:
        return murmur2(row.key.encode()) % count
    if not 0 <= row.partition < count:
        raise why_refused(row, count)
    return row.partition
