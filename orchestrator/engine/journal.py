"""Table journal: one row a turn, append only. The primary key is also the last net: no position is written twice."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from pydantic_core import PydanticSerializationError, from_json, to_json

from orchestrator.core.entries import Json

LOAD_NOW_US = 0  # as wake_us: a local step is under way, whoever claims the shard loads the saga at once

INSERT: LiteralString = """
    INSERT INTO amends.journal (saga_no, pos, wake_us, body)
    SELECT t.saga_no, t.pos, t.wake_us, t.body
    FROM unnest(%s::bigint[], %s::int[], %s::bigint[], %s::text[]) AS t(saga_no, pos, wake_us, body)
"""
_READ: LiteralString = """
    SELECT saga_no, body FROM amends.journal WHERE saga_no = ANY (%s) ORDER BY saga_no, pos
"""
_READ_BETWEEN: LiteralString = """
    SELECT j.saga_no, j.pos, j.body
    FROM unnest(%s::bigint[], %s::int[], %s::int[]) AS w(saga_no, first, last)
    JOIN amends.journal j ON j.saga_no = w.saga_no AND j.pos BETWEEN w.first AND w.last
    ORDER BY j.saga_no, j.pos
"""
_WAKES: LiteralString = """
    SELECT s.shard, s.saga_no, s.id, last.wake_us
    FROM amends.sagas s
    CROSS JOIN LATERAL (
        SELECT j.wake_us FROM amends.journal j WHERE j.saga_no = s.saga_no ORDER BY j.pos DESC LIMIT 1
    ) AS last
    WHERE s.shard = ANY (%s) AND s.ended_at IS NULL AND s.status IN ('running', 'compensating', 'stuck')
        AND last.wake_us IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Row:
    saga_no: int
    pos: int
    wake_us: int | None
    body: str


def insert_params(rows: Iterable[Row]) -> tuple[list[Any], ...]:
    """The arrays for INSERT."""
    listed = list(rows)
    return (
        [row.saga_no for row in listed],
        [row.pos for row in listed],
        [row.wake_us for row in listed],
        [row.body for row in listed],
    )


def read(connection: psycopg.Connection[Any], saga_nos: list[int]) -> dict[int, list[list[Json]]]:
    """The journals of these sagas, each a list of turns, each turn [entry, decision, ...]."""
    journals: dict[int, list[list[Json]]] = {saga_no: [] for saga_no in saga_nos}
    for saga_no, body in connection.execute(_READ, (saga_nos,)):
        journals[saga_no].append(loads(body))
    return journals


def read_between(
    connection: psycopg.Connection[Any], parts: Iterable[tuple[int, int, int]]
) -> dict[int, list[tuple[int, str]]]:
    """Parts of journals, asked for as (saga_no, first position, last): (position, body) in order, by saga_no."""
    listed = list(parts)
    params = tuple([part[n] for part in listed] for n in range(3))
    turns: dict[int, list[tuple[int, str]]] = {}
    for saga_no, pos, body in connection.execute(_READ_BETWEEN, params):
        turns.setdefault(saga_no, []).append((pos, body))
    return turns


def wakes(connection: psycopg.Connection[Any], shards: list[int]) -> list[tuple[int, int, str, int]]:
    """(shard, saga_no, id, wake_us) of the shards' open sagas that want to be woken."""
    return connection.execute(_WAKES, (shards,)).fetchall()


def dumps(value: Json) -> str:
    """JSON as the journal holds it: compact, readable, and refused with a ValueError if it holds a NaN."""
    try:
        data = to_json(value)  # five times as fast as Python's own
    except PydanticSerializationError:
        return _refused_or_rare(value)
    return _refused_or_rare(value) if b"NaN" in data or b"Infinity" in data else data.decode()


def _refused_or_rare(value: Json) -> str:
    """What holds a NaN or may only look like it, and what the fast way does not take."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def loads(text: str) -> Json:
    """What `dumps` was given, as JSON has it."""
    try:
        value: Json = from_json(text)  # twice as fast as Python's own
    except (ValueError, TypeError):
        return json.loads(text)  # a lone surrogate, or 200 lists within each other: the fast way takes neither
    return value
