"""Tables mailbox, held_entries, dead_letters and ignored: nothing that comes in is dropped without a trace.

A message whose saga is not there yet waits in the mailbox; what comes for a blocked saga is held; what can't be read or
comes after the end lies in the dead letters; what needs no keeping (a double, a late or a forged reply) is counted.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg

from orchestrator.core.entries import Entry, Json, entry_from_json, entry_to_json
from orchestrator.messaging.envelope import Envelope, Unreadable

KEEP: LiteralString = """
    INSERT INTO amends.mailbox (saga_id, message_id, type, channel, body)
    SELECT t.saga_id, t.message_id, t.type, t.channel, t.body
    FROM unnest(%s::text[], %s::uuid[], %s::text[], %s::text[], %s::text[])
        AS t(saga_id, message_id, type, channel, body)
    ON CONFLICT (saga_id, message_id) DO NOTHING
"""
DELIVERED: LiteralString = "DELETE FROM amends.mailbox WHERE saga_id = ANY (%s)"
_WAITING: LiteralString = """
    SELECT saga_id, message_id::text, type, channel, body FROM amends.mailbox
    WHERE saga_id = ANY (%s) ORDER BY arrival
"""
HOLD: LiteralString = """
    INSERT INTO amends.held_entries (saga_no, entry)
    SELECT t.saga_no, t.entry FROM unnest(%s::bigint[], %s::text[]) WITH ORDINALITY AS t(saga_no, entry, n) ORDER BY t.n
"""
RELEASED: LiteralString = "DELETE FROM amends.held_entries WHERE saga_no = ANY (%s)"
_HELD: LiteralString = "SELECT entry FROM amends.held_entries WHERE saga_no = %s ORDER BY n"
# The same message that is read again (its offset was not kept) is no second one; another at the same offset is.
BURY: LiteralString = """
    INSERT INTO amends.dead_letters (topic, partition, "offset", kind, saga_id, type, headers, payload, error)
    SELECT t.topic, t.partition, t.position, t.kind, t.saga_id, t.type, t.headers, t.payload, t.error
    FROM unnest(%s::text[], %s::int[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bytea[],
        %s::text[]) AS t(topic, partition, position, kind, saga_id, type, headers, payload, error)
    WHERE NOT EXISTS (
        SELECT FROM amends.dead_letters d
        WHERE d.topic = t.topic AND d.partition = t.partition AND d."offset" = t.position
          AND d.headers = t.headers AND d.payload IS NOT DISTINCT FROM t.payload)
"""
COUNT: LiteralString = """
    INSERT INTO amends.ignored AS i (reason, count, last_at, last_saga_id)
    SELECT t.reason, t.count, clock_timestamp(), t.saga_id
    FROM unnest(%s::text[], %s::bigint[], %s::text[]) AS t(reason, count, saga_id)
    ON CONFLICT (reason) DO UPDATE
    SET count = i.count + EXCLUDED.count, last_at = EXCLUDED.last_at, last_saga_id = EXCLUDED.last_saga_id
"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message to a saga that does not exist yet, or has not begun."""

    saga_id: str
    message_id: str
    type: str
    channel: str
    body: Json


@dataclass(frozen=True, slots=True)
class Letter:
    """Something that can't be delivered, with all that is needed to send it again."""

    topic: str
    partition: int
    offset: int
    headers: str
    payload: bytes | None
    error: str
    kind: str | None = None
    saga_id: str | None = None
    type: str | None = None


def letter(message: Envelope | Unreadable, error: str) -> Letter:
    """A dead letter of what came from Kafka."""
    match message:
        case Unreadable():
            headers = {name: None if value is None else value.hex() for name, value in message.headers}
            return Letter(message.topic, message.partition, message.offset, json.dumps(headers), message.payload, error)
        case Envelope():
            names = ("id", "operation_key", "attempt", "reply_to", "outcome", "nonce", "expires_at", "channel")
            headers = {name: getattr(message, name) for name in names}
            return Letter(
                message.topic,
                message.partition,
                message.offset,
                json.dumps(headers),
                message.payload,
                error,
                message.kind,
                message.saga_id,
                message.type,
            )


def waiting(connection: psycopg.Connection[Any], saga_ids: list[str]) -> dict[str, list[Waiting]]:
    """What lies in the mailbox for these sagas, in order of arrival."""
    found: dict[str, list[Waiting]] = {}
    for saga_id, message_id, kind, channel, body in connection.execute(_WAITING, (saga_ids,)):
        found.setdefault(saga_id, []).append(Waiting(saga_id, message_id, kind, channel, json.loads(body)))
    return found


def held(connection: psycopg.Connection[Any], saga_no: int) -> list[Entry]:
    """What came for a saga while it was blocked."""
    return [entry_from_json(json.loads(row[0])) for row in connection.execute(_HELD, (saga_no,))]


def keep_params(messages: Iterable[Waiting]) -> tuple[list[Any], ...]:
    """The arrays for KEEP."""
    listed = list(messages)
    return (
        [m.saga_id for m in listed],
        [m.message_id for m in listed],
        [m.type for m in listed],
        [m.channel for m in listed],
        [json.dumps(m.body) for m in listed],
    )


def hold_params(entries: Iterable[tuple[int, Entry]]) -> tuple[list[Any], ...]:
    """The arrays for HOLD."""
    listed = list(entries)
    return [saga_no for saga_no, _ in listed], [json.dumps(entry_to_json(entry)) for _, entry in listed]


def bury_params(letters: Iterable[Letter]) -> tuple[list[Any], ...]:
    """The arrays for BURY."""
    listed = list(letters)
    names = ("topic", "partition", "offset", "kind", "saga_id", "type", "headers", "payload", "error")
    return tuple([getattr(one, name) for one in listed] for name in names)


def count_params(counts: dict[str, tuple[int, str]]) -> tuple[list[Any], ...]:
    """The arrays for COUNT: reason -> (how many, the last saga's id)."""
    reasons = sorted(counts)
    return reasons, [counts[r][0] for r in reasons], [counts[r][1] for r in reasons]
