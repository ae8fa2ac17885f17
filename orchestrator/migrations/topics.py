"""Which topics an application writes to or reads, and their creation in Kafka."""

from collections.abc import Mapping
from dataclasses import dataclass

SAGAS_TOPIC = "sagas"


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic, with its prefix. `topic_id` is Kafka's own id of it: a topic made again has another one."""

    name: str
    partitions: int
    topic_id: str | None


def created_topics(bootstrap_servers: str, wanted: Mapping[str, int]) -> list[Topic]:
    """Create the missing ones; return all as they are, which may be with more partitions than were wanted."""
    # Imported here: `amends migrate` without Kafka, as a DBA runs it, needs no Kafka client.
    from orchestrator.messaging.kafka import Admin

    admin = Admin(bootstrap_servers)
    admin.ensure_topics(wanted)
    ids = admin.topic_ids(list(wanted))
    partitions = admin.partitions(list(wanted))
    return [Topic(name, partitions[name], ids[name]) for name in wanted]
