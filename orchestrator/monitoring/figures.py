"""Figures that only Postgres knows, and what they cost. Reads only; whose tables these are stands in their comments.

Every count is bounded or comes from an index alone:
  sagas      open ones by an index-only count over `sagas_open`; stuck and blocked ones by `sagas_parked`, which holds
             no others, up to ROWS_COUNTED_MAX in all shards; those at work are known to the orchestrator, so queued
             ones are what is left: an estimate, off by the batches committed meanwhile
  outbox     the oldest ROWS_COUNTED_MAX rows by their number, as `amends doctor` counts
  inbox      the rows that are due (`inbox_due`), parked events by their index, dead messages by their key
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg

ROWS_COUNTED_MAX = 10_000

_OPEN: LiteralString = """
    SELECT shard, count(*) FROM amends.sagas
    WHERE shard = ANY (%s) AND ended_at IS NULL
    GROUP BY shard
"""
_PARKED: LiteralString = """
    SELECT shard, status, count(*)
    FROM (SELECT shard, status FROM amends.sagas WHERE parked_at IS NOT NULL LIMIT %s) AS parked
    GROUP BY shard, status
"""
_OUTBOX: LiteralString = """
    SELECT count(*), coalesce(extract(epoch FROM (clock_timestamp() AT TIME ZONE 'UTC') - min("timestamp")), 0)::float8
    FROM (SELECT "timestamp" FROM amends.outbox ORDER BY seq LIMIT %s) AS oldest
"""
_OUTBOX_DEAD: LiteralString = "SELECT count(*) FROM (SELECT FROM amends.outbox_dead LIMIT %s) AS found"
_DUE: LiteralString = """
    SELECT count(*), count(*) FILTER (WHERE in_doubt OR recheck)
    FROM (
        SELECT in_doubt, recheck FROM amends.inbox WHERE service = %s AND due_at IS NOT NULL LIMIT %s
    ) AS due
"""
_EVENTS_PARKED: LiteralString = """
    SELECT count(*) FROM (
        SELECT FROM amends.inbox_events WHERE participant = %s AND state = 'parked' LIMIT %s
    ) AS found
"""
_INBOX_DEAD: LiteralString = """
    SELECT count(*) FROM (SELECT FROM amends.inbox_dead WHERE participant = %s LIMIT %s) AS found
"""


@dataclass(frozen=True, slots=True)
class Outbox:
    """`age_s` of the oldest row, 0 if there is none; counts stop at ROWS_COUNTED_MAX."""

    rows: int
    age_s: float
    dead: int


@dataclass(frozen=True, slots=True)
class Shard:
    """Sagas of one shard; together they are those that are open. `queued` None: too many are stuck or blocked."""

    at_work: int
    queued: int | None
    stuck: int
    blocked: int


@dataclass(frozen=True, slots=True)
class Inbox:
    """Of one participant; counts stop at ROWS_COUNTED_MAX."""

    due: int
    in_doubt: int
    events_parked: int
    dead: int


def outbox(connection: psycopg.Connection[Any]) -> Outbox:
    """Of any database of ours."""
    rows, age_s = _row(connection, _OUTBOX, (ROWS_COUNTED_MAX,))
    (dead,) = _row(connection, _OUTBOX_DEAD, (ROWS_COUNTED_MAX,))
    return Outbox(rows, max(0.0, age_s), dead)


def shards(connection: psycopg.Connection[Any], at_work: Mapping[int, int]) -> dict[int, Shard]:
    """By shard, of those whose sagas at work are given."""
    opened = dict(connection.execute(_OPEN, (sorted(at_work),)).fetchall())
    counted = connection.execute(_PARKED, (ROWS_COUNTED_MAX,)).fetchall()
    parked = {(shard, status): count for shard, status, count in counted}
    knows_all = sum(parked.values()) < ROWS_COUNTED_MAX
    found: dict[int, Shard] = {}
    for shard, working in at_work.items():
        stuck, blocked = parked.get((shard, "stuck"), 0), parked.get((shard, "blocked"), 0)
        queued = opened.get(shard, 0) - working - stuck - blocked
        found[shard] = Shard(working, max(0, queued) if knows_all else None, stuck, blocked)
    return found


def inbox(connection: psycopg.Connection[Any], participant: str) -> Inbox:
    """Of the participant's own database."""
    due, in_doubt = _row(connection, _DUE, (participant, ROWS_COUNTED_MAX))
    (parked,) = _row(connection, _EVENTS_PARKED, (participant, ROWS_COUNTED_MAX))
    (dead,) = _row(connection, _INBOX_DEAD, (participant, ROWS_COUNTED_MAX))
    return Inbox(due, in_doubt, parked, dead)


def _row(connection: psycopg.Connection[Any], sql: LiteralString, params: tuple[Any, ...]) -> tuple[Any, ...]:
    row = connection.execute(sql, params).fetchone()
    assert row is not None
    return tuple(row)
