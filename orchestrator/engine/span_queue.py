"""Table span_queue: whose turns were committed and are not exported yet. An outbox for traces, a row a batch and shard.

Rows are written in the batch's own transaction and deleted when the collector has accepted every span that their turns
ended. Whoever exports a shard holds its advisory lock, not its rows: no transaction is open while the collector is
asked, and a killed process's lock ends with its session.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, LiteralString

import psycopg

END_UNSEEN = -1  # as a position: the saga was ended by force, without a turn
LOCK_CLASS = 0x616D7370  # "amsp": apart from the relay's

INSERT: LiteralString = """
    INSERT INTO amends.span_queue (shard, batch_no, epoch, saga_nos, positions)
    SELECT t.shard, t.batch_no, t.epoch, turns.saga_nos[t.first : t.last], turns.positions[t.first : t.last]
    FROM unnest(%s::int[], %s::bigint[], %s::bigint[], %s::int[], %s::int[]) AS t(shard, batch_no, epoch, first, last)
    CROSS JOIN (SELECT %s::bigint[] AS saga_nos, %s::int[] AS positions) AS turns
"""
# From the ends of the primary key: a long queue costs no more than a short one.
_WAITING: LiteralString = """
    SELECT s.shard, q.first, q.last
    FROM amends.shards s
    CROSS JOIN LATERAL (
        SELECT min(w.batch_no) AS first, max(w.batch_no) AS last FROM amends.span_queue w WHERE w.shard = s.shard
    ) AS q
    WHERE q.first IS NOT NULL
    ORDER BY s.shard
"""
# One shard after the other: where much waits, the turns of a saga are read together.
_HEADS: LiteralString = """
    SELECT shard, batch_no, epoch, saga_nos, positions
    FROM (
        SELECT h.*, sum(cardinality(h.saga_nos)) OVER (ORDER BY h.shard, h.batch_no) AS turns
        FROM unnest(%s::int[]) AS s(shard)
        CROSS JOIN LATERAL (
            SELECT q.* FROM amends.span_queue q WHERE q.shard = s.shard ORDER BY q.batch_no LIMIT %s
        ) AS h
    ) AS summed
    WHERE turns <= %s OR turns = cardinality(saga_nos)
    ORDER BY shard, batch_no
"""
_REMOVE: LiteralString = """
    DELETE FROM amends.span_queue q
    USING unnest(%s::int[], %s::bigint[]) AS gone(shard, batch_no)
    WHERE q.shard = gone.shard AND q.batch_no = gone.batch_no
"""
_SHED: LiteralString = "DELETE FROM amends.span_queue WHERE shard = %s AND batch_no < %s"
_TRY_LOCK: LiteralString = "SELECT s.shard FROM unnest(%s::int[]) AS s(shard) WHERE pg_try_advisory_lock(%s, s.shard)"
_UNLOCK: LiteralString = "SELECT pg_advisory_unlock(%s, s.shard) FROM unnest(%s::int[]) AS s(shard)"


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a shard has waiting: batch numbers, the first and the last. There may be gaps."""

    shard: int
    first: int
    last: int

    @property
    def count(self) -> int:
        """At most so many."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Row:
    """The turns of one batch in a shard: (saga_no, position) in pairs. `epoch` is the owner's that committed them."""

    shard: int
    batch_no: int
    epoch: int
    saga_nos: list[int]
    positions: list[int]


def insert_params(rows: Sequence[tuple[int, int, int, Sequence[tuple[int, int]]]]) -> tuple[list[int], ...]:
    """For INSERT: a row for each (shard, batch_no, epoch, turns); turns are (saga_no, position), one at least.

    An array of arrays has to be a rectangle, so the turns of all rows go in one, and each row's is a slice of it.
    """
    turns = [turn for *_, of_row in rows for turn in of_row]
    lasts = list(accumulate(len(of_row) for *_, of_row in rows))
    firsts = [1, *(last + 1 for last in lasts[:-1])]
    return (
        [shard for shard, *_ in rows],
        [batch_no for _, batch_no, *_ in rows],
        [epoch for _, _, epoch, _ in rows],
        firsts,
        lasts,
        [saga_no for saga_no, _ in turns],
        [pos for _, pos in turns],
    )


def waiting(connection: psycopg.Connection[Any]) -> list[Waiting]:
    """The shards that have something to export."""
    return [Waiting(*row) for row in connection.execute(_WAITING)]


def heads(connection: psycopg.Connection[Any], shards: Sequence[int], rows_max: int, turns_max: int) -> list[Row]:
    """The oldest rows of these shards, in order: `rows_max` of a shard, `turns_max` turns in all, but one row at least.

    So there may be none of the last shards.
    """
    return [Row(*row) for row in connection.execute(_HEADS, (list(shards), rows_max, turns_max))]


def remove(connection: psycopg.Connection[Any], rows: Sequence[Row]) -> None:
    """Their spans are with the collector."""
    connection.execute(_REMOVE, ([row.shard for row in rows], [row.batch_no for row in rows]))


def shed(connection: psycopg.Connection[Any], shard: int, before: int) -> int:
    """Give up the oldest: how many rows were."""
    return connection.execute(_SHED, (shard, before)).rowcount


def try_lock(connection: psycopg.Connection[Any], shards: Sequence[int]) -> list[int]:
    """Export these shards alone, until `unlock` or the end of the session: those that nobody else is at."""
    return [shard for (shard,) in connection.execute(_TRY_LOCK, (list(shards), LOCK_CLASS))]


def unlock(connection: psycopg.Connection[Any], shards: Sequence[int]) -> None:
    """Let others export these shards."""
    connection.execute(_UNLOCK, (LOCK_CLASS, list(shards)))
