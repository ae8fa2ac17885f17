"""What the database knows beside its sagas: who owns the shards, what waits in the outbox, breakers. Writes nothing."""

from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from orchestrator.client import reading
from orchestrator.client.answers import Record
from orchestrator.client.requests import Steps
from orchestrator.client.statements import Query
from outbox_relay import dead, table
from outbox_relay.dead import DeadRow
from outbox_relay.limits import PENDING_ROWS_MAX
from outbox_relay.table import Pending

OWNERS_MAX = 1_000  # of a shard: the latest

# The owners that a saga's shard had until its end: the first of them may have come before the saga.
_SELECT_OWNERS: LiteralString = """
    SELECT CAST(extract(epoch FROM t.at) * 1000000 AS bigint), t.epoch, t.name
    FROM amends.sagas s
    JOIN amends.takeovers t ON t.shard = s.shard AND (s.ended_at IS NULL OR t.at <= s.ended_at)
    WHERE s.id = CAST(%(id)s AS text)
    ORDER BY t.at DESC
    LIMIT CAST(%(rows_max)s AS int)
"""
_SELECT_PARKED_AT: LiteralString = "SELECT parked_at FROM amends.sagas WHERE id = CAST(%(id)s AS text)"
_SELECT_WORKERS: LiteralString = """
    SELECT CAST(worker AS text), name, pid, draining, started_at, beat_at,
        CAST(extract(epoch FROM clock_timestamp() - beat_at) AS float8)
    FROM amends.workers
    ORDER BY name, worker
"""
_SELECT_SHARDS: LiteralString = """
    SELECT s.shard, s.epoch, w.name, s.claimed_at
    FROM amends.shards s
    LEFT JOIN amends.workers w ON w.worker = s.worker AND s.owner IS NOT NULL
    ORDER BY s.shard
"""
_COUNT_DEAD: LiteralString = "SELECT count(*) FROM amends.outbox_dead"
_SELECT_BREAKERS: LiteralString = """
    SELECT participant, name,
        CASE WHEN state = 'open' AND coalesce(trial_until > clock_timestamp(), false) THEN 'half_open' ELSE state END,
        opened_at, reopens_at, openings, trials
    FROM amends.breakers
    ORDER BY participant, name
"""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who took a saga's shard, and when."""

    at_us: int
    epoch: int
    worker: str


@dataclass(frozen=True, slots=True)
class Told:
    """All that is told of one saga: its record with its journal and its verbs, and who owned its shard, in order."""

    record: Record
    owners: tuple[Owner, ...]
    parked_at: datetime | None


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """An orchestrator that is there, or was and has not been noticed to be gone: `silent_s` since its last beat."""

    worker: str
    name: str
    pid: int
    draining: bool
    started_at: datetime
    beat_at: datetime
    silent_s: float


@dataclass(frozen=True, slots=True)
class ShardRow:
    """Whose a shard is; `owner` None: nobody's."""

    shard: int
    epoch: int
    owner: str | None
    claimed_at: datetime | None


@dataclass(frozen=True, slots=True)
class OutboxFacts:
    """What waits in the outbox (counted up to PENDING_ROWS_MAX), and what Kafka did not take."""

    pending: tuple[Pending, ...]
    dead_count: int
    dead: tuple[DeadRow, ...]


@dataclass(frozen=True, slots=True)
class BreakerRow:
    """A participant's circuit breaker. half_open: its one trial call is out."""

    participant: str
    name: str
    state: str
    opened_at: datetime | None
    reopens_at: datetime | None
    openings: int
    trials: int


def told(saga_id: str) -> Steps[Told]:
    """Raises SagaNotFound."""
    found = yield from reading.record(saga_id)
    owners = yield Query(_SELECT_OWNERS, {"id": saga_id, "rows_max": OWNERS_MAX})
    parked = yield Query(_SELECT_PARKED_AT, {"id": saga_id})
    return Told(found, tuple(Owner(*row) for row in reversed(owners)), parked[0][0] if parked else None)


def workers() -> Steps[tuple[WorkerRow, ...]]:
    """The orchestrators, by name."""
    rows = yield Query(_SELECT_WORKERS)
    return tuple(WorkerRow(*row) for row in rows)


def shards() -> Steps[tuple[ShardRow, ...]]:
    """Every shard with its owner."""
    rows = yield Query(_SELECT_SHARDS)
    return tuple(ShardRow(*row) for row in rows)


def outbox(dead_after: int, dead_max: int) -> Steps[OutboxFacts]:
    """As `amends outbox ls` and `amends outbox dead` read it."""
    pending = yield Query(table.PENDING, {"rows_max": PENDING_ROWS_MAX})
    count = yield Query(_COUNT_DEAD)
    rows = yield Query(dead.LIST, {"after_seq": dead_after, "rows_max": dead_max})
    return OutboxFacts(
        tuple(Pending(*row) for row in sorted(pending)), int(count[0][0]), tuple(DeadRow(*row) for row in rows)
    )


def breakers() -> Steps[tuple[BreakerRow, ...]]:
    """The breakers of one service's database."""
    rows = yield Query(_SELECT_BREAKERS)
    return tuple(BreakerRow(*row) for row in rows)
