"""Reading commands and events as a member of a consumer group. See `kafka` for what holds of every client here."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from orchestrator.errors import DependencyError
from orchestrator.messaging.envelope import Envelope, Unreadable
from orchestrator.messaging.kafka import opened_consumer, poll_messages
from orchestrator.messaging.kafka_admin import CALL_TIMEOUT_S, LOG, Admin
from orchestrator.messaging.kafka_errors import REFUSED_COMMIT, Mapped, SessionTooShort, dependency_error, reason_of

SESSION_TIMEOUT_MS = 1_500  # takeover of a dead member's partitions in about this time
SESSION_TIMEOUT_BROKER_DEFAULT_MS = 6_000  # the least that a broker with default settings takes
MAX_POLL_INTERVAL_MS = 300_000
TOPICS_LOOK_S = 2.0  # how often a member asks whether its topics are still those that it began to read

Place = tuple[str, int]  # topic, partition


class GroupConsumer:
    """A member of a consumer group: participants share their commands, and each service has its own copy of an event.

    Offsets only save work here: a message that comes again meets the inbox. But one that is skipped is lost, and an
    offset means nothing in a topic that was made again under the same name (M5). So each is kept together with the id
    of its topic, and a member at work asks every TOPICS_LOOK_S whether it still reads the topic that it began with.
    """

    def __init__(
        self,
        bootstrap: str,
        group: str,
        client_id: str,
        *,
        session_timeout_ms: int = SESSION_TIMEOUT_MS,
        login: Mapping[str, str] | None = None,
    ) -> None:
        self._bootstrap, self._group, self._client_id = bootstrap, group, client_id
        self._topics: Sequence[str] = ()
        self._on_revoked: Callable[[list[Place]], None] = lambda _places: None
        self._to_raise: DependencyError | None = None
        self._topic_ids: dict[str, str] = {}  # of the topics that this client began with
        self._made_again = False
        self._login = login
        self._admin = Admin(bootstrap, login)
        self._looks = ThreadPoolExecutor(1, thread_name_prefix=f"topics of {group}")
        self._look: Future[dict[str, str]] | None = None
        self._next_look_s = 0.0  # monotonic
        self.session_timeout_ms = session_timeout_ms
        self._consumer = self._opened()

    def subscribe(self, topics: Sequence[str], on_revoked: Callable[[list[Place]], None]) -> None:
        """`on_revoked` runs inside `poll`, before another member gets these partitions: finish and commit there."""
        self._topics, self._on_revoked = topics, on_revoked
        self._consumer.subscribe(list(topics), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)

    def poll(self, messages_max: int, timeout_s: float) -> list[Envelope | Unreadable]:
        """As ShardConsumer's. Must be called at least every MAX_POLL_INTERVAL_MS, or the group goes on without us."""
        if (held := self._to_raise) is not None:
            self._to_raise = None
            raise held
        self._look_at_topics()
        if self._made_again:
            # A new client: this one knows things of the old topic that it would hold against the new one.
            LOG.warning("group %s: a topic of %s was made again: a new client reads it", self._group, self._topics)
            self._join_anew()
        read, error = poll_messages(self._consumer, messages_max, timeout_s)
        if isinstance(error, SessionTooShort) and self.session_timeout_ms < SESSION_TIMEOUT_BROKER_DEFAULT_MS:
            self._join_with_longer_session()
            return read
        if error is not None and not read:
            raise error
        self._to_raise = error
        return read

    def commit(self, offsets: Mapping[Place, int]) -> bool:
        """Keep (topic, partition) -> next offset; what is not ours any more is left out, lest its reader be set back.

        Only asks for it. Waiting for the answer would have no end where the group's coordinator is gone for good (a
        Kafka that lost all it had, seen); what was not kept comes again and meets the inbox. False: nothing is ours.
        """
        places = [
            TopicPartition(*place, offsets[place], self._topic_ids.get(place[0], ""))
            for place in self.assignment()
            if place in offsets
        ]
        if not places:
            return not offsets
        try:
            self._consumer.commit(offsets=places, asynchronous=True)
        except KafkaException as error:
            reason = reason_of(error)
            if reason.code() in REFUSED_COMMIT:
                LOG.info("group %s: offsets not kept, the group has been shared out anew: %s", self._group, reason)
                return False
            raise dependency_error(reason, f"keeping offsets of group {self._group}") from error
        return True

    def assignment(self) -> list[Place]:
        """What this member reads at present."""
        return [(place.topic, place.partition) for place in self._consumer.assignment()]

    def pause(self, places: Iterable[Place]) -> None:
        """Stay a member, but fetch nothing of these. A partition that comes back after a rebalance is not paused."""
        self._consumer.pause(_held(self._consumer, places))

    def resume(self, places: Iterable[Place]) -> None:
        """Take up what was paused, where it was."""
        self._consumer.resume(_held(self._consumer, places))

    def close(self) -> None:
        """Leave the group, so that the others go on at once."""
        self._consumer.close()
        self._looks.shutdown(wait=False)

    def _opened(self) -> Consumer:
        return opened_consumer(
            self._bootstrap,
            self._client_id,
            {
                "group.id": self._group,
                "auto.offset.reset": "earliest",
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": self.session_timeout_ms,
                "heartbeat.interval.ms": self.session_timeout_ms // 5,
                "max.poll.interval.ms": MAX_POLL_INTERVAL_MS,
                "on_commit": self._kept,
            },
            self._login,
        )

    def _join_with_longer_session(self) -> None:
        LOG.warning(
            "group %s: the broker refuses a session of %s ms, so a dead member is noticed after %s ms; for a faster "
            "takeover set group.min.session.timeout.ms=1000 on the brokers",
            self._group,
            self.session_timeout_ms,
            SESSION_TIMEOUT_BROKER_DEFAULT_MS,
        )
        self.session_timeout_ms = SESSION_TIMEOUT_BROKER_DEFAULT_MS
        self._join_anew()

    def _join_anew(self) -> None:
        self._consumer.close()
        self._topic_ids.clear()
        self._made_again, self._look = False, None
        self._consumer = self._opened()
        self.subscribe(self._topics, self._on_revoked)

    def _assigned(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        """Runs inside `poll`. What was kept for a topic of another id is not believed."""
        try:
            with Mapped(f"the offsets of group {self._group}"):
                kept = consumer.committed(places, timeout=CALL_TIMEOUT_S)
            ids = self._admin.topic_ids({place.topic for place in places})
        except DependencyError as error:
            LOG.warning(
                "group %s: read from the beginning, for nothing is known of what was read: %s", self._group, error
            )
            kept, ids = [TopicPartition(place.topic, place.partition, OFFSET_BEGINNING) for place in places], {}
        for place in kept:
            if place.offset >= 0 and place.metadata and place.metadata != ids.get(place.topic):
                LOG.warning("group %s: %s was made again, and is read from its beginning", self._group, _name(place))
                place.offset = OFFSET_BEGINNING
        self._compare(ids)
        consumer.incremental_assign([TopicPartition(place.topic, place.partition, place.offset) for place in kept])

    def _kept(self, error: KafkaError | None, _places: list[TopicPartition]) -> None:
        """Runs inside `poll`: what came of a commit."""
        if error is not None:
            LOG.info("group %s: offsets not kept: %s; what was handled comes again", self._group, error)

    def _revoked(self, _consumer: Consumer, places: list[TopicPartition]) -> None:
        self._on_revoked([(place.topic, place.partition) for place in places])

    def _look_at_topics(self) -> None:
        """Ask now and then, beside the reading: a broker that is away must not hold up who polls."""
        if self._look is None:
            if time.monotonic() >= self._next_look_s:
                self._look = self._looks.submit(self._admin.topic_ids, self._topics)
        elif self._look.done():
            look, self._look, self._next_look_s = self._look, None, time.monotonic() + TOPICS_LOOK_S
            try:
                ids = look.result()
            except DependencyError as error:
                LOG.info("group %s: nothing is known of its topics: %s", self._group, error)
            else:
                self._compare(ids)

    def _compare(self, ids: Mapping[str, str]) -> None:
        """With what this client began with, whether or not the group lets it read anything at present."""
        for topic, topic_id in ids.items():
            self._made_again |= self._topic_ids.setdefault(topic, topic_id) != topic_id


def _name(place: TopicPartition) -> str:
    return f"{place.topic}[{place.partition}]"


def _held(consumer: Consumer, places: Iterable[Place]) -> list[TopicPartition]:
    held = {(place.topic, place.partition) for place in consumer.assignment()}
    return [TopicPartition(*place) for place in places if place in held]
