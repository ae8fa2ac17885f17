"""The Kafka client: what all consumers share, and reading shards by assignment.

`kafka`, `kafka_group`, `kafka_admin` and `kafka_errors` are the only modules of the runtime that import
confluent_kafka. Every function here BLOCKS, up to the seconds it names: call it from a plain thread. What the client
reports about a partition or a topic is raised as a DependencyError that says what to do; what it mends by itself (a
broker that is away for a while) is logged and waited for.
"""

from collections.abc import Container, Iterable, Mapping
from contextlib import suppress
from operator import methodcaller
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from orchestrator.errors import DependencyError
from orchestrator.messaging.envelope import Envelope, Unreadable, read_envelope
from orchestrator.messaging.kafka_admin import CALL_TIMEOUT_S, CONNECTION, LOG
from orchestrator.messaging.kafka_errors import (
    DENIED,
    MISSING,
    OUT_OF_RANGE,
    Mapped,
    OffsetOutOfRange,
    SessionTooShort,
    dependency_error,
)

ASK_TIMEOUT_S = 1.0
QUEUE_KBYTES_MAX = 16 * 1024  # fetched ahead and not polled yet, a consumer
_CONSUMER: dict[str, Any] = CONNECTION | {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "queued.max.messages.kbytes": QUEUE_KBYTES_MAX,
    "fetch.queue.backoff.ms": 5,  # after the queue was full: the default is a second of standing still
    "fetch.error.backoff.ms": 100,
    # A partition that is assigned during a fetch waits for its end, so this is also the delay of a takeover. At rest it
    # costs some 30 requests a second.
    "fetch.wait.max.ms": 30,
}

# The client looks for the coordinator of the group whose name it wants, and may not be allowed to: it is in no group.
_NO_GROUP = frozenset({KafkaError.GROUP_AUTHORIZATION_FAILED})

# The client's C code breaks on a header whose name is not UTF-8: it returns a list with a hole and sets an exception.
# Anybody may send one. A call from Python is not checked for that once the interpreter has specialized it, and then the
# process crashes at the hole; a call from C always is, and raises SystemError.
_headers_of = methodcaller("headers")


class ShardConsumer:
    """Reads the partitions it is told to, from the offsets it is told: Postgres knows both. It is in no group."""

    def __init__(self, bootstrap: str, client_id: str, login: Mapping[str, str] | None = None) -> None:
        # librdkafka wants the name of a group; it is never joined, and nothing is committed to it.
        self._consumer = opened_consumer(
            bootstrap, client_id, {"group.id": f"{client_id}-unused", "auto.offset.reset": "error"}, login
        )
        self._topic = ""
        self._to_raise: DependencyError | None = None

    def assign(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Also read these partitions, from these offsets. A partition that is read already begins again there."""
        is_new, self._topic = topic != self._topic, topic
        held = {place.partition for place in self._consumer.assignment()}
        again = [TopicPartition(topic, partition) for partition in offsets if partition in held]
        if again:
            self._consumer.incremental_unassign(again)
        self._consumer.incremental_assign([TopicPartition(topic, p, offset) for p, offset in offsets.items()])
        if is_new:
            self._ask_for(topic)

    def _ask_for(self, topic: str) -> None:
        """Ask where its partitions are. The client does so by itself, but one that had nothing to do until then does it
        often with the tick of its clock only, a second after it was made.
        """
        with suppress(KafkaException):  # It goes on asking.
            self._consumer.list_topics(topic, timeout=ASK_TIMEOUT_S)

    def revoke(self, partitions: Iterable[int]) -> None:
        """Read these no more. What is fetched of them is dropped."""
        held = {place.partition for place in self._consumer.assignment()}
        self._consumer.incremental_unassign([TopicPartition(self._topic, p) for p in partitions if p in held])

    def poll(self, messages_max: int, timeout_s: float) -> list[Envelope | Unreadable]:
        """Waits up to timeout_s for a first message, then takes what is there, messages_max at most.

        Raises OffsetOutOfRange or TopicMissing; messages that came together with the error are returned first.
        """
        if (held := self._to_raise) is not None:
            self._to_raise = None
            raise held
        read, error = poll_messages(self._consumer, messages_max, timeout_s, ignored=_NO_GROUP)
        if error is not None and not read:
            raise error
        self._to_raise = error
        return read

    def watermarks(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset that is there and the one that the next message will get, as the broker says now."""
        with Mapped(f"the ends of {topic}[{partition}]", topic):
            low, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=CALL_TIMEOUT_S)
        return low, high

    def close(self) -> None:
        self._consumer.close()


def opened_consumer(
    bootstrap: str, client_id: str, config: dict[str, Any], login: Mapping[str, str] | None = None
) -> Consumer:
    """A client with the settings that all of ours have, and these."""
    where = {"bootstrap.servers": bootstrap, "client.id": client_id, **(login or {})}
    return Consumer(_CONSUMER | where | config, logger=LOG)


def poll_messages(
    consumer: Consumer, messages_max: int, timeout_s: float, *, ignored: Container[int] = ()
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
        elif reason.code() not in ignored:
            error = error or _poll_error(reason, message.topic() or "", message.partition())
    return read, error


def _read(message: Message) -> Envelope | Unreadable:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    payload = _bytes(message.value())
    try:
        headers = _headers_of(message) or ()
    except (SystemError, UnicodeError):
        return Unreadable(
            topic=topic,
            partition=partition,
            offset=offset,
            headers=(),
            payload=payload,
            error="the name of a header is not UTF-8",
        )
    return read_envelope(
        topic=topic,
        partition=partition,
        offset=offset,
        timestamp_ms=message.timestamp()[1],
        key=message.key(),
        headers=headers,
        payload=payload,
    )


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _poll_error(reason: KafkaError, topic: str, partition: int | None) -> DependencyError | None:
    if reason.code() in OUT_OF_RANGE:
        return OffsetOutOfRange(topic, -1 if partition is None else partition)
    if reason.code() == KafkaError.INVALID_SESSION_TIMEOUT:
        return SessionTooShort(f"the broker refuses our session timeout: {reason}")
    if reason.code() in (*MISSING, *DENIED) or reason.fatal():
        return dependency_error(reason, f"reading {topic}", topic)
    # The client goes on by itself: a broker is away, a leader moved, we were too slow for the group.
    LOG.warning("reading %s: %s", topic or "topics", reason)
    return None
