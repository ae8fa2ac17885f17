"""Table amends.inbox_events: each event once for each participant, in order for each key, and none in others' way.

A local handler runs in the transaction that notes the event. If it raises, or calls out, or an earlier event of its key
still waits, the event waits here instead, the offset moves on, and only later events of the same key wait behind it.
After `EVENT_ATTEMPTS_MAX` attempts, or a Failure, it is `parked`: visible, out of the way, and to be put back with
UPDATE amends.inbox_events SET state = 'waiting', due_at = now(), attempts = 0 WHERE event_id = '…'.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, LiteralString

from psycopg.rows import tuple_row

from orchestrator.contracts import Event
from orchestrator.errors import Failure, Transient
from orchestrator.messaging import avro
from orchestrator.participant.handlers import EventHandler, Participant
from orchestrator.participant.requests import EventRequest

if TYPE_CHECKING:
    from psycopg import AsyncConnection

EVENT_ATTEMPTS_MAX = 8
EVENT_FIRST_DELAY_S = 0.5
EVENT_MAX_DELAY_S = 30.0
ERROR_CHARS_MAX = 2_000

_OPEN_KEYS: LiteralString = """
    SELECT DISTINCT topic, key FROM amends.inbox_events
    WHERE participant = %s AND state IN ('waiting', 'running') AND topic = ANY(%s) AND key = ANY(%s)
"""
_INSERT: LiteralString = """
    INSERT INTO amends.inbox_events (participant, event_id, topic, key, type, state, payload, traceparent, due_at)
    SELECT %s, r.event_id, r.topic, r.key, r.type, r.state, r.payload, r.traceparent,
        CASE r.state WHEN 'waiting' THEN clock_timestamp() END
    FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %b::bytea[], %s::text[])
        WITH ORDINALITY AS r(event_id, topic, key, type, state, payload, traceparent, n)
    ORDER BY r.n
    ON CONFLICT (participant, event_id) DO NOTHING
    RETURNING event_id::text
"""
# The oldest of each key, and those whose holder did not end in time, or died with a local handler: its transaction has
# gone with its session, so nothing is waited for.
_CLAIM: LiteralString = """
    WITH ready AS (
        SELECT e.event_id FROM amends.inbox_events e
        WHERE e.participant = %(participant)s AND e.state IN ('waiting', 'running')
          AND (e.due_at <= clock_timestamp() OR (e.state = 'running' AND e.type = ANY(%(local)s)
            AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = e.holder)))
          AND NOT EXISTS (
            SELECT FROM amends.inbox_events b
            WHERE b.participant = e.participant AND b.topic = e.topic AND b.key = e.key AND b.arrival < e.arrival
              AND b.state IN ('waiting', 'running'))
        ORDER BY e.arrival LIMIT %(rows)s FOR UPDATE SKIP LOCKED
    )
    UPDATE amends.inbox_events e
    SET state = 'running', run = e.run + 1, attempts = e.attempts + 1, holder = pg_backend_pid(),
        due_at = clock_timestamp() + make_interval(secs => %(hold_s)s)
    FROM ready WHERE e.participant = %(participant)s AND e.event_id = ready.event_id
    RETURNING e.event_id::text, e.topic, e.key, e.type, e.payload, e.traceparent, e.attempts, e.run
"""
_HOLD: LiteralString = """
    SELECT event_id::text, run FROM amends.inbox_events
    WHERE participant = %s AND event_id = ANY(%s::uuid[]) AND state = 'running' ORDER BY event_id FOR UPDATE
"""
_END: LiteralString = """
    UPDATE amends.inbox_events
    SET state = %s, attempts = %s, error = %s, due_at = clock_timestamp() + make_interval(secs => %s),
        payload = CASE WHEN %s THEN NULL ELSE payload END
    WHERE participant = %s AND event_id = %s
"""
_PURGE: LiteralString = """
    DELETE FROM amends.inbox_events WHERE (participant, event_id) IN (
        SELECT participant, event_id FROM amends.inbox_events
        WHERE state = 'done' AND arrived_at < clock_timestamp() - make_interval(secs => %s)
        LIMIT %s FOR UPDATE SKIP LOCKED)
"""


@dataclass(frozen=True, slots=True)
class WaitingEvent:
    """A claimed event. `run` holds it until its deadline."""

    event_id: str
    topic: str
    key: str
    type: str
    payload: bytes
    traceparent: str | None
    attempts: int
    run: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of an event whose handler raised."""

    state: str
    attempts: int
    error: str
    pause_s: float


async def note(
    connection: "AsyncConnection[Any]",
    participant: str,
    requests: Sequence[EventRequest],
    *,
    wait: bool,
) -> dict[str, bool]:
    """Insert the events that are new; id -> whether it waits. With `wait`, all of them do."""
    if not requests:
        return {}
    cursor = connection.cursor(row_factory=tuple_row)
    topics, keys = [r.topic for r in requests], [r.key for r in requests]
    await cursor.execute(_OPEN_KEYS, (participant, topics, keys))
    blocked = set(await cursor.fetchall())
    waits: dict[str, bool] = {}
    first: dict[str, EventRequest] = {}
    for request in requests:
        if request.event_id in first:
            continue
        first[request.event_id] = request
        outside = request.handler.options is not None or request.event is None
        waits[request.event_id] = wait or outside or (request.topic, request.key) in blocked
        if waits[request.event_id]:
            blocked.add((request.topic, request.key))
    rows = list(first.values())
    await cursor.execute(
        _INSERT,
        (
            participant,
            [r.event_id for r in rows],
            [r.topic for r in rows],
            [r.key for r in rows],
            [r.type for r in rows],
            ["waiting" if waits[r.event_id] else "done" for r in rows],
            [r.payload if waits[r.event_id] else None for r in rows],
            [r.traceparent for r in rows],
        ),
    )
    return {event_id: waits[event_id] for (event_id,) in await cursor.fetchall()}


async def claim(
    connection: "AsyncConnection[Any]", participant: str, rows_max: int, hold_s: float, local: Sequence[str]
) -> list[WaitingEvent]:
    """Take what is due, one event of each key. `local`: types whose handlers only use this database."""
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(_CLAIM, {"participant": participant, "rows": rows_max, "hold_s": hold_s, "local": local})
    return [WaitingEvent(*row) for row in await cursor.fetchall()]


async def held(connection: "AsyncConnection[Any]", participant: str, events: Sequence[WaitingEvent]) -> set[str]:
    """Lock the rows of these events; the ids of those that are still theirs."""
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(_HOLD, (participant, [event.event_id for event in events]))
    runs = {event.event_id: event.run for event in events}
    return {event_id for event_id, run in await cursor.fetchall() if runs[event_id] == run}


async def end(connection: "AsyncConnection[Any]", participant: str, event_id: str, verdict: Verdict) -> None:
    """Store what became of an event."""
    done = verdict.state == "done"
    values = (verdict.state, verdict.attempts, verdict.error or None, verdict.pause_s)
    await connection.execute(_END, (*values, done, participant, event_id))


async def purge(connection: "AsyncConnection[Any]", horizon_s: float, rows_max: int) -> int:
    """Delete what is done and too old to come again; how many."""
    return (await connection.execute(_PURGE, (horizon_s, rows_max))).rowcount


def verdict_on(event: WaitingEvent, error: BaseException | None, *, retry_after_s: float | None = None) -> Verdict:
    """done, again later, or parked."""
    if error is None:
        return Verdict("done", event.attempts, "", 0.0)
    text = f"{type(error).__name__}: {error}".replace("\x00", "\ufffd")[:ERROR_CHARS_MAX]
    if isinstance(error, Transient) and error.retry_after_s is not None:
        retry_after_s = error.retry_after_s
    if retry_after_s is not None:
        return Verdict("waiting", event.attempts - 1, text, retry_after_s)
    if isinstance(error, Failure) or event.attempts >= EVENT_ATTEMPTS_MAX:
        return Verdict("parked", event.attempts, text, 0.0)
    pause_s = min(EVENT_FIRST_DELAY_S * 2 ** (event.attempts - 1), EVENT_MAX_DELAY_S)
    return Verdict("waiting", event.attempts, text, pause_s)


def parsed(event: WaitingEvent, participant: Participant[Any]) -> tuple[Event, EventHandler]:
    """The event and its handler. Raises LookupError, PayloadError or ValidationError."""
    handler = participant.event_handlers.get(event.type)
    if handler is None:
        raise LookupError(f"participant {participant.name} has no handler for {event.type} any more")
    return handler.event.model_validate_json(json.dumps(avro.decode(event.payload))), handler
