"""Tables sagas and saga_values: what a saga is, its status, and what it has `set`.

The row is touched only when the status changes, never per step; and no index names the status, so that until the end
this is a HOT update.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg

from orchestrator.core.decisions import Finish
from orchestrator.core.ids import SagaIdentity, operation_key
from orchestrator.problems import Problem
from orchestrator.tracing.ids import trace_id

OPEN = frozenset({"running", "compensating", "stuck"})
ENDED = frozenset({"completed", "failed", "cancelled", "terminated"})

_COLUMNS: LiteralString = """
    saga_no, id, uid::text, type, version, shard, status, input, input_hash, parent_id, parent_key, parent_reply_to,
    traceparent
"""
_FIND: LiteralString = f"SELECT {_COLUMNS} FROM amends.sagas WHERE id = ANY (%s)"
_FIND_BY_NUMBER: LiteralString = f"SELECT {_COLUMNS} FROM amends.sagas WHERE saga_no = ANY (%s)"
_OPEN_IN: LiteralString = f"""
    SELECT {_COLUMNS} FROM amends.sagas
    WHERE shard = %s AND ended_at IS NULL AND saga_no > %s
    ORDER BY saga_no LIMIT %s
"""
_NUMBERS: LiteralString = """
    SELECT nextval(pg_get_serial_sequence('amends.sagas', 'saga_no')) FROM generate_series(1, %s)
"""
INSERT: LiteralString = """
    INSERT INTO amends.sagas (
        saga_no, id, uid, type, version, shard, status, input, input_hash, parent_id, parent_key, parent_reply_to,
        traceparent)
    SELECT t.saga_no, t.id, t.uid, t.type, t.version, t.shard, t.status, t.input, t.input_hash, t.parent_id,
        t.parent_key, t.parent_reply_to, t.traceparent
    FROM unnest(
        %s::bigint[], %s::text[], %s::uuid[], %s::text[], %s::int[], %s::int[], %s::text[], %s::text[], %s::bytea[],
        %s::text[], %s::text[], %s::text[], %s::text[]
    ) AS t(saga_no, id, uid, type, version, shard, status, input, input_hash, parent_id, parent_key, parent_reply_to,
        traceparent)
"""
_ENDS: LiteralString = """
    SELECT saga_no, (extract(epoch FROM ended_at) * 1000000)::bigint, problem FROM amends.sagas
    WHERE saga_no = ANY (%s) AND ended_at IS NOT NULL
"""
_FINISHES: LiteralString = """
    SELECT id, status, result, problem, left_undone FROM amends.sagas
    WHERE saga_no = ANY (%s) AND ended_at IS NOT NULL
"""
MOVE: LiteralString = (
    "SELECT amends.move_sagas(%s::bigint[], %s::text[], %s::text[], %s::boolean[], %s::text[], %s::text[], %s::text[])"
)
SET_VALUES: LiteralString = """
    INSERT INTO amends.saga_values (saga_no, key, pos, n, value)
    SELECT t.saga_no, t.key, t.pos, t.n, t.value
    FROM unnest(%s::bigint[], %s::text[], %s::int[], %s::int[], %s::text[]) AS t(saga_no, key, pos, n, value)
"""


@dataclass(frozen=True, slots=True)
class SagaRow:
    saga_no: int
    id: str
    uid: str
    type: str
    version: int
    shard: int
    status: str
    input: str | None  # None: it has begun, and position 0 of its journal holds it
    input_hash: bytes
    parent_id: str | None = None
    parent_key: str | None = None
    parent_reply_to: str | None = None
    traceparent: str | None = None

    def key(self, seq: int) -> str:
        """The operation key of its operation `seq`."""
        return operation_key(self.uid, 0, seq)

    @property
    def identity(self) -> SagaIdentity:
        return SagaIdentity(
            self.id,
            self.uid,
            self.type,
            self.version,
            self.shard,
            parent_id=self.parent_id,
            trace_id=trace_id(self.uid, self.traceparent),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A change of status. `before` is what the row must still say."""

    saga_no: int
    before: str
    after: str
    result: str | None = None
    problem: Problem | None = None
    left_undone: tuple[str, ...] = ()

    @property
    def begins(self) -> bool:
        """Nothing but the first turn of a saga that goes on."""
        return self.before == "queued" and self.after == "running"

    def then(self, later: "Move") -> "Move":
        """Two changes in one batch are one."""
        return Move(
            saga_no=self.saga_no,
            before=self.before,
            after=later.after,
            result=later.result,
            problem=later.problem,
            left_undone=later.left_undone,
        )


@dataclass(frozen=True, slots=True)
class End:
    """When and why a saga ended, as its row says it."""

    at_us: int
    error_type: str
    error_text: str


@dataclass(frozen=True, slots=True)
class Value:
    saga_no: int
    key: str
    pos: int
    n: int
    value: str


def find(connection: psycopg.Connection[Any], ids: list[str]) -> dict[str, SagaRow]:
    """The rows of these ids; ids that nobody has are missing."""
    return {row[1]: SagaRow(*row) for row in connection.execute(_FIND, (ids,))}


def find_by_number(connection: psycopg.Connection[Any], saga_nos: list[int]) -> dict[int, SagaRow]:
    """The rows of these numbers."""
    return {row[0]: SagaRow(*row) for row in connection.execute(_FIND_BY_NUMBER, (saga_nos,))}


def ends(connection: psycopg.Connection[Any], saga_nos: list[int]) -> dict[int, End]:
    """The ends of these sagas; those that have not ended are missing."""
    found: dict[int, End] = {}
    for saga_no, at_us, problem in connection.execute(_ENDS, (saga_nos,)):
        told = json.loads(problem) if problem else {}
        found[saga_no] = End(at_us, str(told.get("type", "")), str(told.get("text", "")))
    return found


def finishes(connection: psycopg.Connection[Any], saga_nos: list[int]) -> dict[str, Finish]:
    """How these sagas ended, by id; those that have not ended are missing."""
    return {
        saga_id: Finish(
            status=status,
            result=None if result is None else json.loads(result),
            problem=None if problem is None else Problem.from_json(json.loads(problem)),
            left_undone=tuple(left_undone or ()),
        )
        for saga_id, status, result, problem, left_undone in connection.execute(_FINISHES, (saga_nos,))
    }


def open_in(connection: psycopg.Connection[Any], shard: int, after: int, limit: int) -> list[SagaRow]:
    """Open sagas of a shard, in pages: those with a number above `after`."""
    return [SagaRow(*row) for row in connection.execute(_OPEN_IN, (shard, after, limit))]


def numbers(connection: psycopg.Connection[Any], count: int) -> list[int]:
    """Saga numbers for rows that the coming batch will insert."""
    return [row[0] for row in connection.execute(_NUMBERS, (count,))]


def insert_params(rows: Iterable[SagaRow]) -> tuple[list[Any], ...]:
    """The arrays for INSERT."""
    names = (
        "saga_no",
        "id",
        "uid",
        "type",
        "version",
        "shard",
        "status",
        "input",
        "input_hash",
        "parent_id",
        "parent_key",
        "parent_reply_to",
        "traceparent",
    )
    listed = list(rows)
    return tuple([getattr(row, name) for row in listed] for name in names)


def move_params(moves: Iterable[Move]) -> tuple[list[Any], ...]:
    """The arrays for MOVE."""
    listed = list(moves)
    return (
        [m.saga_no for m in listed],
        [m.before for m in listed],
        [m.after for m in listed],
        [m.after in ENDED for m in listed],
        [m.result for m in listed],
        [None if m.problem is None else json.dumps(m.problem.to_json()) for m in listed],
        [json.dumps(m.left_undone) if m.left_undone else None for m in listed],
    )


def value_params(values: Iterable[Value]) -> tuple[list[Any], ...]:
    """The arrays for SET_VALUES."""
    listed = list(values)
    return (
        [v.saga_no for v in listed],
        [v.key for v in listed],
        [v.pos for v in listed],
        [v.n for v in listed],
        [v.value for v in listed],
    )
