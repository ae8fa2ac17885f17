"""Table amends.outbox_dead: rows that Kafka will never take, and those that wait behind them.

One bad row parks only its key (or its topic, when it is the topic that is missing or forbidden): later rows of it are
moved here too, so that the outbox stays short and the key keeps its order. A redrive is asked for here and done by the
relay, which alone knows what it has in its hands. It puts the rows back under their old numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from outbox_relay.failpoints import failpoint
from outbox_relay.postgres import Session

_COLUMNS: LiteralString = """seq, id, aggregatetype, aggregateid, type, payload, "timestamp", partition,
        kind, saga_id, operation_key, attempt, reply_to, outcome, nonce, expires_at, channel, traceparent"""

MOVE: LiteralString = f"""
    WITH died AS (
        SELECT * FROM unnest(%s::bigint[], %s::text[], %s::text[]) AS d(seq, scope, error)
    ), gone AS (
        DELETE FROM amends.outbox o USING died d WHERE o.seq = d.seq RETURNING o.*, d.scope, d.error
    )
    INSERT INTO amends.outbox_dead ({_COLUMNS}, scope, error) SELECT {_COLUMNS}, scope, error FROM gone
    RETURNING seq
"""
PARKED: LiteralString = """
    SELECT aggregatetype, CASE WHEN bool_or(scope IN ('topic', 'missing')) THEN NULL ELSE aggregateid END
    FROM amends.outbox_dead GROUP BY aggregatetype, aggregateid
"""
ASKED: LiteralString = "SELECT EXISTS (SELECT FROM amends.outbox_dead WHERE redrive_at IS NOT NULL)"
# With a row go all of its key, or, when the topic is parked, all of its topic: none may overtake another. And whatever
# waits behind nothing any more, because what it waited for was given up or parks only its own key now.
REDRIVE: LiteralString = f"""
    WITH asked AS (
        SELECT DISTINCT aggregatetype, aggregateid, scope FROM amends.outbox_dead WHERE redrive_at IS NOT NULL
    ), gone AS (
        DELETE FROM amends.outbox_dead d
        WHERE (d.aggregatetype, d.aggregateid) IN (SELECT aggregatetype, aggregateid FROM asked)
           OR d.aggregatetype IN (SELECT aggregatetype FROM asked WHERE scope IN ('topic', 'missing'))
           OR d.scope = 'behind'
               AND d.aggregatetype NOT IN (
                   SELECT aggregatetype FROM amends.outbox_dead WHERE scope IN ('topic', 'missing'))
               AND (d.aggregatetype, d.aggregateid) NOT IN (
                   SELECT aggregatetype, aggregateid FROM amends.outbox_dead WHERE scope = 'key')
        RETURNING d.*
    )
    INSERT INTO amends.outbox ({_COLUMNS}) SELECT {_COLUMNS} FROM gone ORDER BY seq
"""
ASK: LiteralString = """
    UPDATE amends.outbox_dead SET redrive_at = now()
    WHERE aggregatetype = %(topic)s AND (%(key)s::text IS NULL OR aggregateid = %(key)s)
"""
# A row for a partition that the topic does not have parks its key from now on, and no longer the topic.
ASK_FOR_FOUND: LiteralString = """
    UPDATE amends.outbox_dead d
    SET redrive_at = CASE WHEN d.partition < t.partitions THEN now() END,
        scope = CASE WHEN d.partition < t.partitions THEN d.scope ELSE 'key' END
    FROM unnest(%s::text[], %s::int[]) AS t(topic, partitions)
    WHERE d.scope = 'missing' AND d.redrive_at IS NULL AND d.aggregatetype = t.topic
"""
DISCARD: LiteralString = "DELETE FROM amends.outbox_dead WHERE seq = %s AND scope <> 'behind'"
LIST: LiteralString = """
    SELECT seq, aggregatetype, aggregateid, type, kind, scope, error, died_at, redrive_at IS NOT NULL
    FROM amends.outbox_dead WHERE seq > %(after_seq)s::bigint ORDER BY seq LIMIT %(rows_max)s::int
"""


@dataclass(frozen=True, slots=True)
class DeadRow:
    """A row in outbox_dead, without its payload. `scope`: what it parks; `behind`: it waits behind another one."""

    seq: int
    topic: str
    key: str
    type: str
    kind: str | None
    scope: str
    error: str
    died_at: datetime
    redrive_asked: bool


def rows(session: Session, after_seq: int = 0, rows_max: int = 100) -> Sequence[DeadRow]:
    """List dead rows in order of seq."""
    found = session.execute(LIST, {"after_seq": after_seq, "rows_max": rows_max}).fetchall()
    return [DeadRow(*values) for values in found]


def move(session: Session, seqs: list[int], scopes: list[str], errors: list[str]) -> list[int]:
    """Move rows out of the outbox; return those that were there."""
    failpoint("relay.dead.before")
    moved = session.execute(MOVE, (seqs, scopes, errors)).fetchall()
    failpoint("relay.dead.after")
    return [seq for (seq,) in moved]


def redrive(session: Session) -> int:
    """Put back what was asked for; return how many rows. Nothing of the outbox may be on its way meanwhile."""
    failpoint("relay.redrive.before")
    count = session.execute(REDRIVE).rowcount
    failpoint("relay.redrive.after")
    return count


def ask_for_found(session: Session, partitions: Mapping[str, int]) -> bool:
    """Ask for the rows of topics that were missing: `partitions` are the topics that there are, and how large.
    Whether there were any: what is parked has changed then.
    """
    failpoint("relay.found.before")
    changed = session.execute(ASK_FOR_FOUND, ([*partitions], [*partitions.values()])).rowcount
    failpoint("relay.found.after")
    return changed > 0


def ask_redrive(session: Session, topic: str, key: str | None = None) -> int:
    """Ask the relay to send the dead rows of a key again, in order; without a key all of the topic. Count them."""
    return session.execute(ASK, {"topic": topic, "key": key}).rowcount


def discard(session: Session, seq: int) -> bool:
    """Give a bad row up; those behind it go out with the next redrive. False: no such row, or it only waits."""
    return session.execute(DISCARD, (seq,)).rowcount == 1


class Parked:
    """Which keys and topics wait, in the relay's memory, as it is in the table."""

    def __init__(self) -> None:
        self.keys: set[tuple[str, str]] = set()
        self.topics: set[str] = set()

    def load(self, session: Session) -> None:
        """Read it from the table."""
        self.keys, self.topics = set(), set()
        for topic, key in session.execute(PARKED).fetchall():
            if key is None:
                self.topics.add(topic)
            else:
                self.keys.add((topic, key))

    def holds(self, topic: str, key: str) -> bool:
        """Tell whether a row has to wait behind a dead one."""
        return topic in self.topics or (bool(self.keys) and (topic, key) in self.keys)
