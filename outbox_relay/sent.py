"""Table amends.outbox_sent: what was acknowledged, for a declared window; sent again when its topic is gone.

Only rows that nobody could make again from elsewhere: starts, messages and events. A row keeps the topic's id as it was
known before the send, so that an ack of a topic that has since been made again is recognised whenever it is seen.
"""

from typing import LiteralString

from outbox_relay.failpoints import failpoint
from outbox_relay.limits import RESEND_ROWS_MAX, SENT_DAYS_AHEAD
from outbox_relay.postgres import Session

PARTITIONS: LiteralString = "SELECT amends.outbox_sent_partitions(%s, make_interval(secs => %s))"

# Three conditions, which the index serves, in place of one IS DISTINCT FROM, which none does. NULL: the row was sent
# before the broker had said which topic it is.
_RESEND: LiteralString = """
    WITH lost AS (
        SELECT s.tableoid AS part, s.ctid AS place FROM amends.outbox_sent s
        WHERE s.aggregatetype = %(topic)s
          AND (s.topic_id < %(topic_id)s OR s.topic_id > %(topic_id)s OR s.topic_id IS NULL)
        ORDER BY s.seq LIMIT %(rows_max)s
    ), gone AS (
        DELETE FROM amends.outbox_sent s USING lost WHERE s.tableoid = lost.part AND s.ctid = lost.place RETURNING s.*
    ), again AS (
        INSERT INTO amends.outbox (id, aggregatetype, aggregateid, type, payload, "timestamp", partition,
            kind, saga_id, operation_key, attempt, reply_to, outcome, nonce, expires_at, channel, traceparent)
        SELECT id, aggregatetype, aggregateid, type, payload, "timestamp", partition,
            kind, saga_id, operation_key, attempt, reply_to, outcome, nonce, expires_at, channel, traceparent
        FROM gone ORDER BY seq
        RETURNING 1
    )
    SELECT count(*) FROM again
"""
# For people: everything of a topic that was acknowledged since.
_RESEND_SINCE: LiteralString = """
    WITH gone AS (
        DELETE FROM amends.outbox_sent s
        WHERE s.aggregatetype = %(topic)s AND s.sent_at >= %(since)s RETURNING s.*
    ), again AS (
        INSERT INTO amends.outbox (id, aggregatetype, aggregateid, type, payload, "timestamp", partition,
            kind, saga_id, operation_key, attempt, reply_to, outcome, nonce, expires_at, channel, traceparent)
        SELECT id, aggregatetype, aggregateid, type, payload, "timestamp", partition,
            kind, saga_id, operation_key, attempt, reply_to, outcome, nonce, expires_at, channel, traceparent
        FROM gone ORDER BY seq
        RETURNING 1
    )
    SELECT count(*) FROM again
"""


def make_partitions(session: Session, kept_s: float) -> None:
    """Make the partitions of today and the days ahead, drop those that ended longer ago than the window."""
    failpoint("relay.partitions.before")
    session.execute(PARTITIONS, (SENT_DAYS_AHEAD, kept_s))
    failpoint("relay.partitions.after")


def resend_lost(session: Session, topic: str, topic_id: str) -> int:
    """Put rows that were sent to an earlier topic of this name back into the outbox; return how many."""
    total = 0
    count = RESEND_ROWS_MAX
    while count == RESEND_ROWS_MAX:
        values = {"topic": topic, "topic_id": topic_id, "rows_max": RESEND_ROWS_MAX}
        failpoint("relay.resend.before")
        [(count,)] = session.execute(_RESEND, values).fetchall()
        failpoint("relay.resend.after")
        total += count
    return total


def resend_since(session: Session, topic: str, since: str) -> int:
    """Put all that was acknowledged since then (a timestamp with zone) back into the outbox; return how many."""
    [(count,)] = session.execute(_RESEND_SINCE, {"topic": topic, "since": since}).fetchall()
    return int(count)
