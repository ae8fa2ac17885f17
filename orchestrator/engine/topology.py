"""Which topics there are, for a process that writes rows: partition counts from Postgres, the topic's id from Kafka."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, LiteralString, TypeVar

import psycopg

from orchestrator.errors import DependencyError
from orchestrator.messaging.kafka_admin import Admin
from orchestrator.messaging.kafka_errors import TopicMissing
from orchestrator.messaging.topics import Topics
from outbox_relay.errors import TopicUnknown

log = logging.getLogger("orchestrator.engine.topology")

_T = TypeVar("_T")
_PARTITIONS: LiteralString = "SELECT topic, partitions FROM amends.topics"


class Topology:
    """Counts are read once, and again when a topic is missing: a new service may have come since."""

    def __init__(
        self,
        bootstrap: str,
        prefix: str,
        connect: Callable[[], psycopg.Connection[Any]],
        login: Mapping[str, str] | None = None,
    ) -> None:
        self.topics = Topics(prefix)
        self._bootstrap, self._login, self._connect = bootstrap, login, connect
        self._admin = Admin(bootstrap, login)
        self._partitions: dict[str, int] = {}
        self._sagas_topic_id: str | None = None
        self._sagas_partitions = 0
        self._told_missing: list[int] = []

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has. Raises TopicUnknown (a RowRefused) when no migration has registered it."""
        if topic not in self._partitions:
            with self._connect() as connection:
                self._partitions = dict(connection.execute(_PARTITIONS).fetchall())
        if topic not in self._partitions:
            raise TopicUnknown(topic)
        return self._partitions[topic]

    def sagas_topic_id(self) -> str:
        """Kafka's id of the topic `sagas`: another one under the same name is another log. Blocks.

        Raises a DependencyError, TopicMissing when somebody has deleted it.
        """
        found = self._asked(lambda admin: admin.found([self.topics.sagas]))
        if self.topics.sagas not in found:
            raise TopicMissing(self.topics.sagas)
        self._sagas_topic_id, self._sagas_partitions = found[self.topics.sagas]
        return self._sagas_topic_id

    def known_topic_id(self) -> str:
        """The id that Kafka gave last: a claim must not wait for a broker that is away. It is looked at all the time,
        so that an old one does not stay. Blocks, and raises, only before the first answer.
        """
        return self._sagas_topic_id or self.sagas_topic_id()

    def ends(self, shards: list[int]) -> dict[int, int]:
        """Shard -> the offset that the next message of its partition will get. Blocks.

        A shard that had no partition when the topic was looked at last is left out, so that the others have an answer.
        """
        there = [shard for shard in shards if shard < self._sagas_partitions or not self._sagas_topic_id]
        missing = sorted(set(shards) - set(there))
        if missing and missing != self._told_missing:
            log.error(
                "topic %s has %s partitions, and none for the shards %s: was it made again with fewer? Their sagas "
                "wait. Add partitions up to what `amends doctor` says, restart the relay (its client hears of them "
                "after five minutes), then `amends outbox redrive --topic %s`",
                *(self.topics.sagas, self._sagas_partitions, missing, self.topics.sagas),
            )
            self._told_missing = missing
        return self._asked(lambda admin: admin.ends(self.topics.sagas, there))

    def _asked(self, ask: Callable[[Admin], _T]) -> _T:
        """After a failure another client asks the next time: one that met a frozen broker was seen to hear nothing of
        it for minutes after it went on; and as long as nobody says where the shards end, their timers wait.
        """
        try:
            return ask(self._admin)
        except DependencyError:
            self._admin = Admin(self._bootstrap, self._login)
            raise
