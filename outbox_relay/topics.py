"""Table amends.topics: which topics there are, and how many partitions each has.

Filled by `amends migrate`, refreshed by the relay from the broker. Whoever adds rows reads it in the same transaction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import LiteralString

from outbox_relay.failpoints import failpoint
from outbox_relay.postgres import Session

SELECT: LiteralString = "SELECT topic, partitions, topic_id FROM amends.topics"
SELECT_PARTITIONS: LiteralString = "SELECT partitions FROM amends.topics WHERE topic = CAST(%(topic)s AS text)"
# Partitions never become fewer, except when the topic was made again under another id.
UPSERT: LiteralString = """
    INSERT INTO amends.topics AS t (topic, partitions, topic_id)
    SELECT * FROM unnest(%s::text[], %s::int[], %s::text[])
    ON CONFLICT (topic) DO UPDATE
        SET partitions = excluded.partitions, topic_id = coalesce(excluded.topic_id, t.topic_id), refreshed_at = now()
        WHERE (t.partitions, t.topic_id) IS DISTINCT FROM (excluded.partitions, excluded.topic_id)
"""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the broker describes it. Another `topic_id` under the same name: it was made again, and is empty."""

    name: str
    partitions: int
    topic_id: str | None = None


def upsert_params(topics: Mapping[str, Topic]) -> tuple[list[str], list[int], list[str | None]]:
    """Return the parameters of UPSERT, in the order of names: two that refresh at once can't deadlock."""
    known = [topics[name] for name in sorted(topics)]
    return [t.name for t in known], [t.partitions for t in known], [t.topic_id for t in known]


def store(session: Session, topics: Mapping[str, Topic]) -> None:
    """Note what the broker says."""
    failpoint("relay.topics.before")
    session.execute(UPSERT, upsert_params(topics))
    failpoint("relay.topics.after")
