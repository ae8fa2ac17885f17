"""Topics as the broker describes them: how many partitions, and which id."""

from collections.abc import Collection, Mapping

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from outbox_relay.kafka_log import sparing_logger
from outbox_relay.topics import Topic

ANSWER_S = 5.0


class Broker:
    """Asks; blocks up to ANSWER_S. Raises KafkaException when there is no answer.

    `forbidden`: topics, of those that were asked about last, of which our login may know nothing.
    """

    def __init__(self, bootstrap_servers: str, client_id: str, config: Mapping[str, str] | None = None) -> None:
        self.forbidden: frozenset[str] = frozenset()
        self._admin = AdminClient(
            {
                "bootstrap.servers": bootstrap_servers,
                "client.id": client_id,
                "reconnect.backoff.ms": 50,
                "reconnect.backoff.max.ms": 1_000,
                "log_level": 3,
                **(config or {}),
            },
            logger=sparing_logger("outbox_relay.kafka"),
        )

    def describe(self, names: Collection[str]) -> dict[str, Topic]:
        """The topics that exist, by name; a name that is missing here does not exist, or is forbidden."""
        if not names:
            return {}
        forbidden: set[str] = set()
        asked = self._admin.describe_topics(TopicCollection(list(names)), request_timeout=ANSWER_S)
        found: dict[str, Topic] = {}
        for name, future in asked.items():
            # Not `result()`: the future keeps the error, which would keep this frame and with it the client alive.
            error = future.exception(ANSWER_S * 2)
            if error is None:
                described = future.result()
                found[name] = Topic(name, len(described.partitions), str(described.topic_id))
            elif error.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                forbidden.add(name)  # and what may be known of the others counts
            elif error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise KafkaException(*error.args)
        self.forbidden = frozenset(forbidden)
        return found
