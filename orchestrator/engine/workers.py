"""Tables workers and shard_requests: who lives, and who asks whom for a shard.

A killed process is noticed by its database session, which ends with it; a stopped or hanging one by its cycle counter
that stands still while the database answers us promptly. Expiry is judged by the observer's own monotonic clock: no
clocks are compared, and a database that stalls expires nobody.
"""

import time
from dataclasses import dataclass, field
from typing import Any, LiteralString
from uuid import UUID

import psycopg

from orchestrator import limits

PROMPT_S = 0.5  # an answer that took longer says nothing about others

_REGISTER: LiteralString = """
    INSERT INTO amends.workers (worker, name, pid, backends)
    SELECT %(worker)s, %(name)s, %(pid)s, jsonb_agg(jsonb_build_array(a.pid, a.backend_start::text))
    FROM pg_stat_activity a WHERE a.pid = ANY (%(backends)s)
    ON CONFLICT (worker) DO UPDATE SET backends = EXCLUDED.backends, beat_at = clock_timestamp()
"""
_BEAT: LiteralString = """
    UPDATE amends.workers SET cycle = %s, beat_at = clock_timestamp() WHERE worker = %s
"""
_DRAIN: LiteralString = "UPDATE amends.workers SET draining = true WHERE worker = %s"
_FORGET: LiteralString = "DELETE FROM amends.workers WHERE worker = %s"
_FORGET_OLD: LiteralString = "DELETE FROM amends.workers WHERE beat_at < clock_timestamp() - interval '1 hour'"
# When a session of somebody else's login began is hidden from us: as long as its pid is there, so may its process be.
_LOOK: LiteralString = """
    SELECT w.worker, w.cycle, w.draining,
        EXISTS (
            SELECT FROM jsonb_array_elements(w.backends) AS b(entry)
            JOIN pg_stat_activity a ON a.pid = (b.entry ->> 0)::int
                AND (a.backend_start::text = b.entry ->> 1 OR a.backend_start IS NULL)
        )
    FROM amends.workers w
"""
_STARTED: LiteralString = "SELECT pg_postmaster_start_time()::text"
_TERMINATE: LiteralString = """
    SELECT count(pg_terminate_backend(a.pid))
    FROM amends.workers w
    CROSS JOIN LATERAL jsonb_array_elements(w.backends) AS b(entry)
    JOIN pg_stat_activity a ON a.pid = (b.entry ->> 0)::int AND a.backend_start::text = b.entry ->> 1
    WHERE w.worker = %s
"""
_ASK: LiteralString = """
    INSERT INTO amends.shard_requests (shard, worker) VALUES (%s, %s)
    ON CONFLICT (shard) DO UPDATE SET worker = EXCLUDED.worker, asked_at = clock_timestamp()
"""
_REQUESTS: LiteralString = "SELECT shard, worker FROM amends.shard_requests"
_ANSWERED: LiteralString = "DELETE FROM amends.shard_requests WHERE shard = ANY (%s)"


@dataclass(slots=True)
class _Seen:
    cycle: int
    since_s: float


@dataclass(slots=True)
class Census:
    """One observer's view of who lives. Feed it what `look` reads; ask `alive`."""

    _seen: dict[UUID, _Seen] = field(default_factory=dict)
    _postmaster: str = ""
    _quiet_until_s: float = 0.0

    def note(self, rows: list[tuple[UUID, int, bool, bool]], postmaster: str, *, took_s: float, now_s: float) -> None:
        """One look at the table: (worker, cycle, draining, its session is there)."""
        if postmaster != self._postmaster:
            # After a restart of Postgres every session has ended: give all a lease's time to come back.
            self._quiet_until_s = now_s + limits.LEASE_S if self._postmaster else 0.0
            self._postmaster = postmaster
        for worker, cycle, _, _ in rows:
            seen = self._seen.get(worker)
            if seen is None or seen.cycle != cycle:
                self._seen[worker] = _Seen(cycle, now_s)
            elif took_s > PROMPT_S:
                seen.since_s = now_s
        for gone in self._seen.keys() - {row[0] for row in rows}:
            del self._seen[gone]

    def alive(self, rows: list[tuple[UUID, int, bool, bool]], *, now_s: float) -> frozenset[UUID]:
        """Workers that must not be robbed."""
        return frozenset(worker for worker, _, _, session in rows if self._lives(worker, now_s, has_session=session))

    def _lives(self, worker: UUID, now_s: float, *, has_session: bool) -> bool:
        seen = self._seen.get(worker)
        if seen is None or now_s - seen.since_s > limits.LEASE_S:
            return False
        return has_session or now_s < self._quiet_until_s


def register(connection: psycopg.Connection[Any], worker: UUID, name: str, pid: int, backends: list[int]) -> None:
    """Appear, with the sessions by which a claimant ends us; again after each new session."""
    connection.execute(_REGISTER, {"worker": worker, "name": name, "pid": pid, "backends": backends})


def beat(connection: psycopg.Connection[Any], worker: UUID, cycle: int) -> None:
    """Show the main loop's counter: a heartbeat that beats on while the loop hangs would lie."""
    connection.execute(_BEAT, (cycle, worker))


def drain(connection: psycopg.Connection[Any], worker: UUID) -> None:
    """From now on others have a right to all that is ours."""
    connection.execute(_DRAIN, (worker,))


def forget(connection: psycopg.Connection[Any], worker: UUID) -> None:
    """Leave the table, and sweep out those who died long ago."""
    connection.execute(_FORGET, (worker,))
    connection.execute(_FORGET_OLD)


def look(connection: psycopg.Connection[Any], census: Census) -> tuple[frozenset[UUID], frozenset[UUID]]:
    """(alive, those of them that may own shards: not draining)."""
    began = time.monotonic()
    rows: list[tuple[UUID, int, bool, bool]] = connection.execute(_LOOK).fetchall()
    started = connection.execute(_STARTED).fetchone()
    now = time.monotonic()
    census.note(rows, str(started and started[0]), took_s=now - began, now_s=now)
    alive = census.alive(rows, now_s=now)
    return alive, frozenset(row[0] for row in rows if row[0] in alive and not row[2])


def terminate_backends(connection: psycopg.Connection[Any], worker: UUID) -> int:
    """End a dead owner's sessions: a process stopped inside a transaction keeps its row locks past any timeout."""
    row = connection.execute(_TERMINATE, (worker,)).fetchone()
    return int(row[0]) if row else 0


def ask(connection: psycopg.Connection[Any], shard: int, worker: UUID) -> None:
    """Ask the live owner of a shard to give it back."""
    connection.execute(_ASK, (shard, worker))


def requests(connection: psycopg.Connection[Any]) -> dict[int, UUID]:
    """Shards that somebody asks for."""
    return dict(connection.execute(_REQUESTS).fetchall())


def answered(connection: psycopg.Connection[Any], shards: list[int]) -> None:
    """Take requests away that were granted or are void."""
    connection.execute(_ANSWERED, (shards,))
