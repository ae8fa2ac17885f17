"""Send rows and hear what became of them. `Publisher` is the port; KafkaPublisher the librdkafka producer behind it.

Nothing here blocks: the relay's loop also answers Postgres. And nothing is retried here beyond what librdkafka does
by itself: a failure is told to the relay, which throws the whole queue away and reads the table again, because a
message that is sent later than its followers would break the order of its key.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Protocol, TypeAlias

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from outbox_relay.failpoints import failpoint
from outbox_relay.kafka_log import sparing_logger
from outbox_relay.limits import HELD_BYTES_MAX, HELD_ROWS_MAX, MESSAGE_TIMEOUT_S
from outbox_relay.rows import StoredRow, kafka_headers

REPORTS_POLLS_MAX = 5
REPORTS_POLL_S = 0.01

# again: everything is read again and sent again. key, topic: it never will be taken; park its key, or its topic.
# missing: the topic is not there, or our login may know nothing of it; park it until that has changed.
# partition: the client knows no such partition. What it knows may be outdated: it is minutes late with partitions that
# were added, and a topic that is being deleted has none for a moment. So whoever sends asks the broker.
Verdict: TypeAlias = Literal["again", "key", "topic", "missing", "partition"]

_NEVER: dict[int, Verdict] = {
    KafkaError.MSG_SIZE_TOO_LARGE: "key",
    KafkaError.RECORD_LIST_TOO_LARGE: "key",
    KafkaError.INVALID_RECORD: "key",
    KafkaError.INVALID_TIMESTAMP: "key",
    KafkaError._UNKNOWN_PARTITION: "partition",
    KafkaError._UNKNOWN_TOPIC: "missing",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "missing",
    KafkaError.TOPIC_EXCEPTION: "topic",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "topic",
}


class QueueFull(Exception):
    """The producer can't hold more now; nothing was taken."""


class Refused(Exception):
    """The producer refuses this row without asking the broker, and always will."""

    def __init__(self, verdict: Verdict, error: str) -> None:
        super().__init__(error)
        self.verdict = verdict


@dataclass(frozen=True, slots=True)
class Failed:
    """A row that was given to the producer and did not arrive, as far as it knows."""

    seq: int
    verdict: Verdict
    error: str


@dataclass(slots=True)
class Heard:
    """What became of rows since it was last asked. `broken`: the publisher sends nothing more until it is restarted."""

    acked: list[int] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    broken: str | None = None


class Publisher(Protocol):
    """Where rows go. Called from one thread."""

    def send(self, row: StoredRow) -> None:
        """Take the row; raise QueueFull or Refused."""
        ...

    def hear(self) -> Heard:
        """Return what became of rows, without waiting."""
        ...

    def restart(self) -> list[int]:
        """Forget all that was taken and not answered, so that none of it is sent any more; return late acks."""
        ...

    def close(self) -> None: ...


class KafkaPublisher:
    """An idempotent producer with acks from all replicas; order per partition, or an error."""

    def __init__(self, bootstrap_servers: str, client_id: str, config: Mapping[str, str] | None = None) -> None:
        self._config = {
            "bootstrap.servers": bootstrap_servers,
            "client.id": client_id,
            "enable.idempotence": True,
            "acks": "all",
            "enable.gapless.guarantee": True,  # a batch that fails stops the producer before its followers arrive
            "linger.ms": 0,  # seven hops of a saga's three steps would each pay it
            "partitioner": "murmur2_random",  # the partition is always given; this is the second net
            "message.timeout.ms": int(MESSAGE_TIMEOUT_S * 1000),
            "topic.metadata.propagation.max.ms": 1_000,  # a missing topic is told as such, not as a timeout
            "queue.buffering.max.messages": HELD_ROWS_MAX * 2,
            "queue.buffering.max.kbytes": HELD_BYTES_MAX * 2 // 1024,
            "socket.nagle.disable": True,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 1_000,  # 10 s by default: as long after every restart of the broker
            "log_level": 3,  # errors; a warning of its own about every producer's settings is none of them
            "logger": sparing_logger("outbox_relay.kafka"),
            **(config or {}),
        }
        self._heard = Heard()
        self._producer = self._start()

    def send(self, row: StoredRow) -> None:
        """Give the row to librdkafka; it is on its way when the next `hear` runs."""
        failpoint("relay.produce.before")
        try:
            self._producer.produce(  # by position: names cost half a microsecond a row
                row.topic,
                row.payload,
                row.key,
                row.partition,
                partial(_delivered, self._heard, row.seq),
                None,  # on_delivery is another name of the callback
                row.timestamp_ms,
                kafka_headers(row.seq, row.id, row.type, row.columns),
            )
        except BufferError as full:
            raise QueueFull from full
        except KafkaException as error:
            kind: KafkaError = error.args[0]
            raise Refused(_NEVER.get(kind.code(), "again"), kind.str()) from error
        failpoint("relay.produce.after")

    def hear(self) -> Heard:
        """Run the delivery reports that have come in."""
        broken = _poll(self._producer)
        if broken is not None:
            # The reports that say which row it was come a moment after the error that stopped the producer.
            for _ in range(REPORTS_POLLS_MAX):
                _poll(self._producer, REPORTS_POLL_S)
        if self._heard.acked:
            failpoint("relay.acked")  # the broker has them, and the table as well
        heard = Heard(self._heard.acked[:], self._heard.failed[:], broken)
        self._heard.acked.clear()
        self._heard.failed.clear()
        return heard

    def restart(self) -> list[int]:
        """Purge the old producer, whatever it was doing, and begin a new one."""
        old, heard = self._producer, self._heard
        failpoint("relay.purge.before")
        old.purge(in_queue=True, in_flight=True, blocking=False)
        _poll(old)
        failpoint("relay.purge.after")
        self._heard = Heard()
        self._producer = self._start()
        _forget(old)
        return heard.acked

    def close(self) -> None:
        """Drop the producer with what it holds."""
        self._producer.purge(in_queue=True, in_flight=True, blocking=False)
        _poll(self._producer)

    def _start(self) -> Producer:
        return Producer(self._config)


def _delivered(heard: Heard, seq: int, error: KafkaError | None, _message: Message) -> None:
    if error is None:
        heard.acked.append(seq)
    else:
        heard.failed.append(Failed(seq, _NEVER.get(error.code(), "again"), error.str()))


def _poll(producer: Producer, timeout_s: float = 0.0) -> str | None:
    """Run delivery reports; return the error that has stopped the producer for good, told once."""
    try:
        producer.poll(timeout_s)
    except KafkaException as error:
        return str(error.args[0].str())
    return None


def _forget(producer: Producer) -> None:
    """Let go of a purged producer on a thread of its own: its destructor waits for the threads of librdkafka."""
    # The poll is there to outlast the caller's reference, so that the last one is the thread's.
    threading.Thread(target=_poll, args=(producer, 1.0), name="outbox-producer-drop", daemon=True).start()
