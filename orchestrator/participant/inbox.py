"""Table amends.inbox: rows are locked by key in one statement, changed in memory, and stored at the end, new ones once.

Locks are taken in the order of the keys, so two batches that meet wait for each other but never in a circle. A row that
is not there can't be locked: it is inserted at the end as what it has become, and the primary key is its lock. Whoever
comes second waits there, and fails; all that it did is rolled back and done again with the row in sight.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, LiteralString

from psycopg.rows import tuple_row

from orchestrator import limits
from orchestrator.participant.inbox_states import InboxRow, State

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from orchestrator.participant.connection import InboxConnection

NO_TIME = datetime.fromtimestamp(0, UTC)
NOTHING_SETTLED: Mapping[str, datetime] = MappingProxyType({})

_COLUMNS: LiteralString = """
    key, state, in_doubt, recheck, service, saga_id, type, body_hash, body, attempt, errors, run, deadline, holder,
    due_at, quiet_at, reply, recorded, undo_recorded, problem, problem_type, problem_text, reply_to, nonce, traceparent,
    undo_attempt, undo_traceparent, settled, expires_at, created_at
"""
# What a local command leaves when it has succeeded; all other columns have their defaults.
_INSERT_DONE: LiteralString = """
    INSERT INTO amends.inbox (key, service, saga_id, type, body_hash, state, attempt, reply, recorded, reply_to, nonce,
        traceparent, expires_at)
    SELECT r.key, %s, r.saga_id, r.type, r.body_hash, 'done', r.attempt, r.reply, true, r.reply_to, r.nonce,
        r.traceparent, r.expires_at::timestamptz
    FROM unnest(%s::text[], %s::text[], %s::text[], %b::bytea[], %s::int[], %b::bytea[], %s::text[], %s::text[],
        %s::text[], %s::text[])
        AS r(key, saga_id, type, body_hash, attempt, reply, reply_to, nonce, traceparent, expires_at)
    ORDER BY r.key
"""
_INSERT: LiteralString = """
    INSERT INTO amends.inbox (key, state, in_doubt, recheck, service, saga_id, type, body_hash, body, attempt, errors,
        run, deadline, holder, due_at, quiet_at, reply, recorded, undo_recorded, problem, problem_type, problem_text,
        reply_to, nonce, traceparent, undo_attempt, undo_traceparent, settled, expires_at)
    SELECT * FROM unnest(%s::text[], %s::text[], %s::bool[], %s::bool[], %s::text[], %s::text[], %s::text[],
        %b::bytea[], %b::bytea[], %s::int[], %s::int[], %s::int[], %s::timestamptz[], %s::int[], %s::timestamptz[],
        %s::timestamptz[], %b::bytea[], %s::bool[], %s::bool[], %b::bytea[], %s::text[], %s::text[], %s::text[],
        %s::text[], %s::text[], %s::int[], %s::text[], %s::bool[], %s::timestamptz[]) AS r(key)
    ORDER BY key
"""
_LOCK: LiteralString = f"""
    SELECT {_COLUMNS} FROM amends.inbox WHERE key = ANY(%s) ORDER BY key FOR UPDATE
"""
_LOCK_ALL: LiteralString = """
    SELECT count(*) FROM (SELECT FROM amends.inbox WHERE key = ANY(%s) ORDER BY key FOR UPDATE) AS locked
"""
_SETTLE: LiteralString = """
    UPDATE amends.inbox AS i
    SET settled = true, expires_at = greatest(i.expires_at, r.expires_at), updated_at = clock_timestamp()
    FROM unnest(%s::text[], %s::timestamptz[]) AS r(key, expires_at)
    WHERE i.key = r.key
"""
_STORE: LiteralString = """
    UPDATE amends.inbox AS i
    SET state = r.state, in_doubt = r.in_doubt, recheck = r.recheck, body = r.body, attempt = r.attempt,
        errors = r.errors, run = r.run, deadline = r.deadline, holder = r.holder, due_at = r.due_at,
        quiet_at = r.quiet_at,
        reply = r.reply, recorded = r.recorded, undo_recorded = r.undo_recorded, problem = r.problem,
        problem_type = r.problem_type, problem_text = r.problem_text, reply_to = r.reply_to, nonce = r.nonce,
        undo_attempt = r.undo_attempt, undo_traceparent = r.undo_traceparent, settled = r.settled,
        expires_at = r.expires_at, updated_at = clock_timestamp()
    FROM unnest(%s::text[], %s::text[], %s::bool[], %s::bool[], %b::bytea[], %s::int[], %s::int[], %s::int[],
        %s::timestamptz[], %s::int[], %s::timestamptz[], %s::timestamptz[], %b::bytea[], %s::bool[], %s::bool[],
        %b::bytea[], %s::text[], %s::text[], %s::text[], %s::text[], %s::int[], %s::text[], %s::bool[],
        %s::timestamptz[])
        AS r(key, state, in_doubt, recheck, body, attempt, errors, run, deadline, holder, due_at, quiet_at, reply,
        recorded, undo_recorded, problem, problem_type, problem_text, reply_to, nonce, undo_attempt, undo_traceparent,
        settled, expires_at)
    WHERE i.key = r.key
"""
_DUE: LiteralString = f"""
    SELECT {_COLUMNS} FROM amends.inbox
    WHERE service = %s AND due_at <= clock_timestamp()
    ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED
"""
# Their process has died, or only lost its session: asking early does no harm. Found once, they stay with the scan.
_ORPHANED: LiteralString = f"""
    SELECT {_COLUMNS} FROM amends.inbox i
    WHERE service = %s AND state = 'running' AND due_at = deadline AND deadline > clock_timestamp()
      AND holder IS NOT NULL AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = i.holder)
    ORDER BY key LIMIT %s FOR UPDATE OF i SKIP LOCKED
"""
# A queued call is not begun yet: its deadline moves on as long as its process lives and still holds the row.
RENEW: LiteralString = """
    WITH mine AS (
        SELECT i.key, r.hold_s
        FROM amends.inbox i JOIN unnest(%s::text[], %s::int[], %s::float8[]) AS r(key, run, hold_s)
            ON i.key = r.key AND i.run = r.run
        WHERE i.state IN ('running', 'undoing') AND i.deadline > clock_timestamp()
        ORDER BY i.key FOR UPDATE OF i
    )
    UPDATE amends.inbox AS i
    SET deadline = clock_timestamp() + make_interval(secs => mine.hold_s),
        due_at = clock_timestamp() + make_interval(secs => mine.hold_s)
    FROM mine WHERE i.key = mine.key
    RETURNING i.key, i.run
"""
# Settled and past every expiry, so that nothing old can come and meet an empty inbox; or past the horizon, which the
# undo's age is compared with. Never while somebody is outside or a second lookup is due, nor while the operation is
# open: what `retryable` knows about earlier attempts is needed by the next one.
PURGE: LiteralString = """
    DELETE FROM amends.inbox WHERE key IN (
        SELECT key FROM amends.inbox
        WHERE due_at IS NULL
          AND ((settled AND expires_at < clock_timestamp())
            OR (created_at < clock_timestamp() - make_interval(secs => %s) AND state <> 'retryable'))
        LIMIT %s FOR UPDATE SKIP LOCKED)
    RETURNING key
"""
_CLOCK: LiteralString = "SELECT clock_timestamp()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row of the inbox. `row` is what the state machine sees."""

    row: InboxRow
    service: str
    saga_id: str
    type: str
    body_hash: bytes
    body: bytes | None = None
    attempt: int = 0
    errors: int = 0
    run: int = 0
    deadline: datetime | None = None
    holder: int | None = None
    due_at: datetime | None = None
    quiet_at: datetime | None = None
    reply: bytes | None = None
    recorded: bool = False
    undo_recorded: bool = False
    problem: bytes | None = None
    problem_type: str | None = None
    problem_text: str | None = None
    reply_to: str
    nonce: str
    traceparent: str | None = None
    undo_attempt: int = 0
    undo_traceparent: str | None = None
    settled: bool = False
    expires_at: datetime
    created_at: datetime | None = None

    @property
    def key(self) -> str:
        return self.row.key

    @property
    def state(self) -> State:
        return self.row.state


_NAMES = Entry.__slots__[1:]
_FOR_GOOD = frozenset(("service", "saga_id", "type", "body_hash", "traceparent", "created_at"))
_STORED = tuple(name for name in _NAMES if name not in _FOR_GOOD)
# What a plain success leaves at its default, but for `recorded`: see _INSERT_DONE.
_USUAL_VALUES: dict[str, Any] = {
    "body": None,
    "errors": 0,
    "run": 0,
    "deadline": None,
    "due_at": None,
    "quiet_at": None,
    "recorded": True,
    "undo_recorded": False,
    "problem": None,
    "undo_attempt": 0,
    "settled": False,
}
_UNUSUAL, _USUAL = attrgetter(*_USUAL_VALUES), tuple(_USUAL_VALUES.values())


@dataclass(frozen=True, slots=True)
class Locked:
    """The rows of a transaction, and the database's time."""

    entries: dict[str, Entry] = field(default_factory=dict)
    now: datetime = NO_TIME


async def lock(
    connection: "InboxConnection", keys: Collection[str], settled: Mapping[str, datetime] = NOTHING_SETTLED
) -> Locked:
    """Lock the rows of these keys that exist. Begins the transaction if the lane has left that to us.

    Those of `settled`, key -> when the last thing about it expires, need not be looked at: they are changed at once.
    """
    async with connection.pipeline():
        await connection.begin()
        if settled:
            await connection.execute(_LOCK_ALL, (sorted({*keys, *settled}),))
        rows = connection.cursor(row_factory=tuple_row)
        await rows.execute(_LOCK, (sorted(keys),))
        if settled:
            expires_at = [at.isoformat() for at in settled.values()]
            await connection.execute(_SETTLE, (list(settled), expires_at))
        clock = connection.cursor(row_factory=tuple_row)
        await clock.execute(_CLOCK)
    return Locked({entry.key: entry for entry in map(_entry, await rows.fetchall())}, await _time(clock))


async def due(connection: "InboxConnection", service: str, rows_max: int) -> Locked:
    """Lock the rows that a scan has to look at, as far as nobody else has them: due ones, and those of the dead."""
    async with connection.pipeline():
        await connection.begin()
        cursors = [connection.cursor(row_factory=tuple_row) for _ in range(3)]
        await cursors[0].execute(_DUE, (service, rows_max))
        await cursors[1].execute(_ORPHANED, (service, rows_max))
        await cursors[2].execute(_CLOCK)
    found = [*await cursors[0].fetchall(), *await cursors[1].fetchall()]
    return Locked({entry.key: entry for entry in map(_entry, found)}, await _time(cursors[2]))


async def insert(connection: "AsyncConnection[Any]", entries: Sequence[Entry]) -> None:
    """Rows that nobody had when we looked. Raises UniqueViolation, for one that somebody else has made since."""
    if all(map(_is_plainly_done, entries)):
        await connection.execute(_INSERT_DONE, _done_params(entries))
    else:
        await connection.execute(_INSERT, _insert_params(entries))


async def store(connection: "AsyncConnection[Any]", entries: Sequence[Entry]) -> None:
    """Write what changed in rows that are locked."""
    await connection.execute(_STORE, _store_params(entries))


async def purge(connection: "AsyncConnection[Any]", rows_max: int, horizon_s: float = limits.INBOX_HORIZON_S) -> int:
    """Delete rows that nothing can ask for any more; how many."""
    cursor = await connection.execute(PURGE, (horizon_s, rows_max))
    return cursor.rowcount


async def _time(cursor: Any) -> datetime:
    found = await cursor.fetchone()
    assert isinstance(found[0], datetime)
    return found[0]


def _entry(values: Sequence[Any]) -> Entry:
    key, state, in_doubt, recheck, *rest = values
    return Entry(row=InboxRow(key, state, in_doubt, recheck), **dict(zip(_NAMES, rest, strict=True)))


def _is_plainly_done(entry: Entry) -> bool:
    row = entry.row
    return row.state == "done" and not row.in_doubt and not row.recheck and _UNUSUAL(entry) == _USUAL


def _done_params(entries: Sequence[Entry]) -> tuple[Any, ...]:
    return (
        entries[0].service,
        [e.row.key for e in entries],
        [e.saga_id for e in entries],
        [e.type for e in entries],
        [e.body_hash for e in entries],
        [e.attempt for e in entries],
        [e.reply for e in entries],
        [e.reply_to for e in entries],
        [e.nonce for e in entries],
        [e.traceparent for e in entries],
        [e.expires_at.isoformat() for e in entries],
    )


def _insert_params(entries: Sequence[Entry]) -> tuple[list[Any], ...]:
    return _params(entries, _NAMES[:-1])  # `created_at` is Postgres's


def _store_params(entries: Sequence[Entry]) -> tuple[list[Any], ...]:
    return _params(entries, _STORED)


def _params(entries: Sequence[Entry], names: Iterable[str]) -> tuple[list[Any], ...]:
    return (
        [e.row.key for e in entries],
        [e.row.state for e in entries],
        [e.row.in_doubt for e in entries],
        [e.row.recheck for e in entries],
        *([getattr(e, name) for e in entries] for name in names),
    )
