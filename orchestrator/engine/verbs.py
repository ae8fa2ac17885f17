"""Table verbs: what people ask of a saga. Read first in each cycle, so that no backlog of messages delays them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg

READ_MAX = 200  # verbs a cycle
READ_EVERY_S = 0.05

# A verb for a saga whose row is still to come waits for it, and stands before nobody else's meanwhile.
_READ: LiteralString = """
    SELECT v.verb_no, v.saga_id, v.shard, v.verb, v.note
    FROM amends.verbs v JOIN amends.sagas s ON s.id = v.saga_id
    WHERE v.done_at IS NULL AND v.shard = ANY (%s)
    ORDER BY v.verb_no LIMIT %s
"""
DONE: LiteralString = """
    UPDATE amends.verbs v SET done_at = clock_timestamp(), outcome = t.outcome
    FROM unnest(%s::bigint[], %s::text[]) AS t(verb_no, outcome)
    WHERE v.verb_no = t.verb_no AND v.done_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class Verb:
    verb_no: int
    saga_id: str
    shard: int
    verb: str
    note: str


def read(connection: psycopg.Connection[Any], shards: list[int]) -> list[Verb]:
    """The oldest verbs that nobody has carried out."""
    return [Verb(*row) for row in connection.execute(_READ, (shards, READ_MAX))]


def done_params(outcomes: Iterable[tuple[int, str]]) -> tuple[list[Any], ...]:
    """The arrays for DONE."""
    listed = list(outcomes)
    return [verb_no for verb_no, _ in listed], [outcome for _, outcome in listed]
