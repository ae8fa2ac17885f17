"""The Kafka client: reading shards by assignment, reading commands and events as a group, and the topics themselves.

The only module of the runtime that imports confluent_kafka. Every function here BLOCKS, up to the seconds it names:
call it from a plain thread. What the client reports about a partition or a topic is raised as a DependencyError that
says what to do; what it mends by itself (a broker that is away for a while) is logged and waited for.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it has no __all__
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    TopicDescription,
)

from orchestrator.errors import DependencyError
from orchestrator.messaging.envelope import Envelope, Unreadable, read_envelope

_log = logging.getLogger("amends.kafka")

CALL_TIMEOUT_S = 10.0
QUEUE_KBYTES_MAX = 16 * 1024  # fetched ahead and not polled yet, a consumer
SESSION_TIMEOUT_MS = 1_500  # takeover of a dead member's partitions in about this time
SESSION_TIMEOUT_BROKER_DEFAULT_MS = 6_000  # the least that a broker with default settings takes
MAX_POLL_INTERVAL_MS = 300_000

Place = tuple[str, int]  # topic, partition

_COMMON: dict[str, Any] = {
    "socket.nagle.disable": True,
    "reconnect.backoff.max.ms": 1_000,  # the default of 10 s would be added to every restart of a broker
    "topic.metadata.refresh.interval.ms": 30_000,
}
_CONSUMER: dict[str, Any] = _COMMON | {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "queued.max.messages.kbytes": QUEUE_KBYTES_MAX,
    "fetch.queue.backoff.ms": 5,  # after the queue was full: the default is a second of standing still
    "fetch.error.backoff.ms": 100,
    # A partition that is assigned during a fetch waits for its end, so this is also the delay of a takeover.
    "fetch.wait.max.ms": 100,
}
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_MISSING = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)
_OUT_OF_RANGE = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)
_REFUSED_COMMIT = (
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError._STATE,
    KafkaError._ASSIGNMENT_LOST,
)
_DENIED = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError._AUTHENTICATION,
    KafkaError.SASL_AUTHENTICATION_FAILED,
)


class OffsetOutOfRange(DependencyError):
    """The offset to read from is not in the log (any more): the topic was made again, or what was unread is deleted."""

    def __init__(self, topic: str, partition: int) -> None:
        super().__init__(
            f"{topic}[{partition}]: the offset to read on from is not in the log; the topic was made again, or its "
            "retention is shorter than our absence: what is open is sent again from Postgres"
        )
        self.topic = topic
        self.partition = partition


class TopicMissing(DependencyError):
    """A topic that was there, or should be, is not."""

    def __init__(self, topic: str) -> None:
        super().__init__(f"topic {topic} does not exist: type `amends migrate` to make it")
        self.topic = topic


class ShardConsumer:
    """Reads the partitions it is told to, from the offsets it is told: Postgres knows both. It is in no group."""

    def __init__(self, bootstrap: str, client_id: str) -> None:
        # librdkafka wants the name of a group; it is never joined, and nothing is committed to it.
        self._consumer = _consumer(
            bootstrap, client_id, {"group.id": f"{client_id}-unused", "auto.offset.reset": "error"}
        )
        self._topic = ""
        self._to_raise: DependencyError | None = None

    def assign(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Also read these partitions, from these offsets. A partition that is read already begins again there."""
        self._topic = topic
        held = {place.partition for place in self._consumer.assignment()}
        again = [TopicPartition(topic, partition) for partition in offsets if partition in held]
        if again:
            self._consumer.incremental_unassign(again)
        self._consumer.incremental_assign([TopicPartition(topic, p, offset) for p, offset in offsets.items()])

    def revoke(self, partitions: Iterable[int]) -> None:
        """Read these no more. What is fetched of them is dropped."""
        held = {place.partition for place in self._consumer.assignment()}
        self._consumer.incremental_unassign([TopicPartition(self._topic, p) for p in partitions if p in held])

    def pause(self, partitions: Iterable[int]) -> None:
        """Stay assigned, but fetch nothing."""
        self._consumer.pause([TopicPartition(self._topic, p) for p in partitions])

    def resume(self, partitions: Iterable[int]) -> None:
        """Take up what was paused, where it was."""
        self._consumer.resume([TopicPartition(self._topic, p) for p in partitions])

    def poll(self, messages_max: int, timeout_s: float) -> list[Envelope | Unreadable]:
        """Waits up to timeout_s for a first message, then takes what is there, messages_max at most.

        Raises OffsetOutOfRange or TopicMissing; messages that came together with the error are returned first.
        """
        if (held := self._to_raise) is not None:
            self._to_raise = None
            raise held
        read, error = _poll(self._consumer, messages_max, timeout_s)
        if error is not None and not read:
            raise error
        self._to_raise = error
        return read

    def watermarks(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset that is there and the one that the next message will get, as the broker says now."""
        with _Mapped(f"the ends of {topic}[{partition}]", topic):
            low, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=CALL_TIMEOUT_S)
        return low, high

    def close(self) -> None:
        self._consumer.close()


class GroupConsumer:
    """A member of a consumer group: participants share their commands, and each service has its own copy of an event.

    Offsets only save work here: a message that comes again meets the inbox.
    """

    def __init__(
        self, bootstrap: str, group: str, client_id: str, *, session_timeout_ms: int = SESSION_TIMEOUT_MS
    ) -> None:
        self._bootstrap, self._group, self._client_id = bootstrap, group, client_id
        self._topics: Sequence[str] = ()
        self._on_revoked: Callable[[list[Place]], None] = lambda _places: None
        self._to_raise: DependencyError | None = None
        self.session_timeout_ms = session_timeout_ms
        self._consumer = self._opened()

    def subscribe(self, topics: Sequence[str], on_revoked: Callable[[list[Place]], None]) -> None:
        """`on_revoked` runs inside `poll`, before another member gets these partitions: finish and commit there."""
        self._topics, self._on_revoked = topics, on_revoked
        self._consumer.subscribe(list(topics), on_revoke=self._revoked, on_lost=self._revoked)

    def poll(self, messages_max: int, timeout_s: float) -> list[Envelope | Unreadable]:
        """As ShardConsumer's. Must be called at least every MAX_POLL_INTERVAL_MS, or the group goes on without us."""
        if (held := self._to_raise) is not None:
            self._to_raise = None
            raise held
        read, error = _poll(self._consumer, messages_max, timeout_s)
        if isinstance(error, _SessionTooShort) and self.session_timeout_ms < SESSION_TIMEOUT_BROKER_DEFAULT_MS:
            self._join_with_longer_session()
            return read
        if error is not None and not read:
            raise error
        self._to_raise = error
        return read

    def commit(self, offsets: Mapping[Place, int]) -> bool:
        """Keep (topic, partition) -> next offset; what is not ours any more is left out, lest its reader be set back.

        False: the group is being shared out anew, nothing was kept. What was handled comes again and meets the inbox.
        """
        places = _held(self._consumer, offsets)
        if not places:
            return not offsets
        for place in places:
            place.offset = offsets[place.topic, place.partition]
        try:
            self._consumer.commit(offsets=places, asynchronous=False)
        except KafkaException as error:
            reason = _reason(error)
            if reason.code() in _REFUSED_COMMIT:
                _log.info("group %s: offsets not kept, the group has been shared out anew: %s", self._group, reason)
                return False
            raise _dependency_error(reason, f"keeping offsets of group {self._group}") from error
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

    def seek(self, offsets: Mapping[Place, int]) -> None:
        """Read these again from these offsets: what was polled since could not be handled."""
        for place in _held(self._consumer, offsets):
            self._consumer.seek(TopicPartition(place.topic, place.partition, offsets[place.topic, place.partition]))

    def close(self) -> None:
        """Leave the group, so that the others go on at once."""
        self._consumer.close()

    def _opened(self) -> Consumer:
        return _consumer(
            self._bootstrap,
            self._client_id,
            {
                "group.id": self._group,
                "auto.offset.reset": "earliest",
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": self.session_timeout_ms,
                "heartbeat.interval.ms": self.session_timeout_ms // 5,
                "max.poll.interval.ms": MAX_POLL_INTERVAL_MS,
            },
        )

    def _join_with_longer_session(self) -> None:
        _log.warning(
            "group %s: the broker refuses a session of %s ms, so a dead member is noticed after %s ms; for a faster "
            "takeover set group.min.session.timeout.ms=1000 on the brokers",
            self._group,
            self.session_timeout_ms,
            SESSION_TIMEOUT_BROKER_DEFAULT_MS,
        )
        self._consumer.close()
        self.session_timeout_ms = SESSION_TIMEOUT_BROKER_DEFAULT_MS
        self._consumer = self._opened()
        self.subscribe(self._topics, self._on_revoked)

    def _revoked(self, _consumer: Consumer, places: list[TopicPartition]) -> None:
        self._on_revoked([(place.topic, place.partition) for place in places])


class Admin:
    """Topics: make, describe, delete; and what the brokers are set to."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._client = AdminClient(_COMMON | {"bootstrap.servers": bootstrap}, logger=_log)

    def ensure_topics(self, topics: Mapping[str, int]) -> None:
        """Make what is missing, with so many partitions, and wait until all have leaders. Raises DependencyError."""
        missing = topics.keys() - self._described(topics).keys()
        new = [NewTopic(topic, num_partitions=topics[topic], replication_factor=-1) for topic in sorted(missing)]
        if not new:
            return
        for topic, future in self._client.create_topics(new, request_timeout=CALL_TIMEOUT_S).items():
            self._result(future, f"making topic {topic}", KafkaError.TOPIC_ALREADY_EXISTS)
        self._wait_for("have leaders", lambda: self._with_leaders(topics) >= topics.keys())

    def topic_ids(self, topics: Iterable[str]) -> dict[str, str]:
        """The id of each topic that exists: a topic that was deleted and made again has another one."""
        return {topic: str(found.topic_id) for topic, found in self._described(topics).items()}

    def partitions(self, topics: Iterable[str]) -> dict[str, int]:
        """How many partitions each topic has that exists."""
        return {topic: len(found.partitions) for topic, found in self._described(topics).items()}

    def ends(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """The offset that the next message of each partition will get, as the brokers say now: one request for all."""
        wanted = {TopicPartition(topic, partition): _LATEST for partition in partitions}
        if not wanted:
            return {}
        asked = self._client.list_offsets(
            wanted, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=CALL_TIMEOUT_S
        )
        found = {place.partition: self._result(future, f"the ends of {topic}") for place, future in asked.items()}
        return {partition: result.offset for partition, result in found.items()}

    def delete_topics(self, topics: Iterable[str]) -> None:
        """Those that exist, and wait until they are gone."""
        existing = list(self._described(topics))
        if not existing:
            return
        for topic, future in self._client.delete_topics(existing, request_timeout=CALL_TIMEOUT_S).items():
            self._result(future, f"deleting topic {topic}", *_MISSING)
        self._wait_for("be gone", lambda: not self._described(existing))

    def broker_settings(self) -> dict[str, str]:
        """The settings of one broker, for `amends doctor`. Raises DependencyError, also where they may not be read."""
        with _Mapped(f"Kafka at {self._bootstrap}"):
            broker = next(iter(self._client.list_topics(timeout=CALL_TIMEOUT_S).brokers))
        resource = ConfigResource(ConfigResource.Type.BROKER, str(broker))
        asked = self._client.describe_configs([resource], request_timeout=CALL_TIMEOUT_S)
        settings = self._result(asked[resource], "reading the settings of the broker")
        return {name: entry.value for name, entry in settings.items() if entry.value is not None}

    def _described(self, topics: Iterable[str]) -> dict[str, TopicDescription]:
        names = list(topics)
        if not names:
            return {}
        asked = self._client.describe_topics(TopicCollection(names), request_timeout=CALL_TIMEOUT_S)
        found = {topic: self._result(future, f"topic {topic}", *_MISSING) for topic, future in asked.items()}
        return {topic: description for topic, description in found.items() if description is not None}

    def _with_leaders(self, topics: Mapping[str, int]) -> set[str]:
        return {
            topic
            for topic, found in self._described(topics).items()
            if all(partition.leader is not None for partition in found.partitions)
        }

    def _wait_for(self, what: str, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + CALL_TIMEOUT_S
        while not is_so():
            if time.monotonic() > deadline:
                raise DependencyError(f"Kafka at {self._bootstrap}: topics did not {what} within {CALL_TIMEOUT_S:g} s")
            time.sleep(0.02)

    def _result(self, future: Any, what: str, *allowed: int) -> Any:
        """None for the errors that are `allowed`."""
        try:
            return future.result()
        except KafkaException as error:
            if _reason(error).code() in allowed:
                return None
            raise _dependency_error(_reason(error), f"{what} at {self._bootstrap}") from error


class _SessionTooShort(DependencyError):
    """The broker's group.min.session.timeout.ms is above ours."""


class _Mapped:
    """Raises what the client raises as a DependencyError."""

    def __init__(self, what: str, topic: str = "") -> None:
        self._what, self._topic = what, topic

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, KafkaException):
            raise _dependency_error(_reason(error), self._what, self._topic) from error


def _consumer(bootstrap: str, client_id: str, config: dict[str, Any]) -> Consumer:
    return Consumer(_CONSUMER | {"bootstrap.servers": bootstrap, "client.id": client_id} | config, logger=_log)


def _held(consumer: Consumer, places: Iterable[Place]) -> list[TopicPartition]:
    held = {(place.topic, place.partition) for place in consumer.assignment()}
    return [TopicPartition(*place) for place in places if place in held]


def _poll(
    consumer: Consumer, messages_max: int, timeout_s: float
) -> tuple[list[Envelope | Unreadable], DependencyError | None]:
    """`consume(n, t)` would wait for n messages, so one is polled and the rest is taken as it is."""
    first = consumer.poll(timeout_s)
    if first is None:  # `if first` would be False for a message with an empty value, too
        return [], None
    rest = consumer.consume(messages_max - 1, 0) if messages_max > 1 else []
    read: list[Envelope | Unreadable] = []
    error: DependencyError | None = None
    for message in (first, *rest):
        if (reason := message.error()) is None:
            read.append(_read(message))
        else:
            error = error or _poll_error(reason, message.topic() or "", message.partition())
    return read, error


def _read(message: Message) -> Envelope | Unreadable:
    topic, partition, offset, key = message.topic(), message.partition(), message.offset(), message.key()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    return read_envelope(
        topic=topic,
        partition=partition,
        offset=offset,
        timestamp_ms=message.timestamp()[1],
        key=key.encode() if isinstance(key, str) else key,
        headers=message.headers() or (),  # type: ignore[arg-type]  # the stub allows what can only be given to produce
        payload=_bytes(message.value()),
    )


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _poll_error(reason: KafkaError, topic: str, partition: int | None) -> DependencyError | None:
    if reason.code() in _OUT_OF_RANGE:
        return OffsetOutOfRange(topic, -1 if partition is None else partition)
    if reason.code() == KafkaError.INVALID_SESSION_TIMEOUT:
        return _SessionTooShort(f"the broker refuses our session timeout: {reason}")
    if reason.code() in (*_MISSING, *_DENIED) or reason.fatal():
        return _dependency_error(reason, f"reading {topic}", topic)
    # The client goes on by itself: a broker is away, a leader moved, we were too slow for the group.
    _log.warning("reading %s: %s", topic or "topics", reason)
    return None


def _reason(error: KafkaException) -> KafkaError:
    reason = error.args[0]
    assert isinstance(reason, KafkaError)
    return reason


def _dependency_error(reason: KafkaError, what: str, topic: str = "") -> DependencyError:
    if reason.code() in _MISSING and topic:
        return TopicMissing(topic)
    if reason.code() in _DENIED:
        return DependencyError(f"{what}: {reason}: docs/operating.md lists the ACLs of each role")
    if reason.code() in (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN):
        return DependencyError(f"{what}: no broker answers ({reason.name()}): is KAFKA_BOOTSTRAP_SERVERS right?")
    return DependencyError(f"{what}: {reason}")
