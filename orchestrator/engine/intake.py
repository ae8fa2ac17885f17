"""The thread that reads Kafka for the shards we hold, and hands messages to the main loop.

`assign` and `seek`, no consumer group: a group would be a second opinion beside the fence. Whatever touches the
consumer happens on this thread, between two polls, so a message always belongs to the claim it was read under: it
carries that claim's epoch, and one that was read under an older claim is dropped by whoever takes it.
"""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from orchestrator import limits
from orchestrator.errors import AmendsError
from orchestrator.messaging import avro
from orchestrator.messaging.envelope import Envelope, Unreadable
from orchestrator.messaging.kafka import ShardConsumer
from orchestrator.messaging.kafka_errors import OffsetOutOfRange

log = logging.getLogger("orchestrator.engine.intake")

POLL_S = 0.02
POLL_MAX = 2_000
RETRY_S = 0.5
LOW_WATER = 0.5  # of a queue that was full, before it is filled again


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message and the claim it was read under."""

    epoch: int
    message: Envelope | Unreadable


@dataclass(frozen=True, slots=True)
class OutOfRange:
    """The log does not reach back (or up) to our offset: Kafka lost something. `low` is where it begins now; None: the
    reader failed, nothing is known to be lost.
    """

    shard: int
    epoch: int
    low: int | None


class _TopicMadeAgain(Exception):
    """Leave this client: it knows things about the old topic that it would hold against the new one."""


class Intake:
    """`take` is for the main loop; everything else may be called from it too and is carried out by the thread."""

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        client_id: str,
        *,
        wake: Callable[[], None],
        login: Mapping[str, str] | None = None,
    ) -> None:
        self._topic, self._wake = topic, wake
        self._bootstrap, self._client_id, self._login = bootstrap, client_id, login
        self._orders: queue.SimpleQueue[Callable[[ShardConsumer], None]] = queue.SimpleQueue()
        self._arrived: deque[Arrived] = deque()
        self._news: deque[OutOfRange] = deque()
        self._epochs: dict[int, int] = {}
        self._unread: dict[int, Envelope] = {}  # by shard: the first message whose schema the registry has not said
        self._topic_id: str | None = None  # of what the client reads
        self._first: Callable[[ShardConsumer], None] | None = None  # an order for the next client
        self._arrived_bytes = 0  # all that ever arrived, counted by the thread; `_taken_bytes` by the main loop
        self._taken_bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="amends-intake", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(limits.LEASE_S)

    def read_from(self, shard: int, epoch: int, offset: int, topic_id: str) -> None:
        """Read the shard from `offset` on, under this claim.

        A client that has read another topic under this name is given up first. It may read nothing of the new one for
        minutes, without a word (seen after a wipe, when the new brokers were another cluster).
        """

        def order(consumer: ShardConsumer) -> None:
            if self._topic_id not in (None, topic_id):
                self._first = order
                raise _TopicMadeAgain
            self._topic_id = topic_id
            if shard in self._epochs:
                consumer.revoke([shard])
            self._epochs[shard] = epoch
            self._unread.pop(shard, None)
            consumer.assign(self._topic, {shard: offset})

        self._orders.put(order)

    def stop_reading(self, shard: int) -> None:
        """The shard is not ours any more."""

        def order(consumer: ShardConsumer) -> None:
            self._unread.pop(shard, None)
            if self._epochs.pop(shard, None) is not None:
                consumer.revoke([shard])

        self._orders.put(order)

    def take(self) -> list[Arrived]:
        """What one batch may hold, in the order of each shard. A saga that has had its share of turns closes its shard
        for this batch: what lies behind can't be committed before it.
        """
        arrived, taken, left = self._arrived, list[Arrived](), list[Arrived]()
        turns: dict[str | None, int] = {}
        closed: set[int] = set()
        size_bytes = 0
        # `left` is as long as the queue at most: the thread adds to its other end.
        for _ in range(len(arrived)):
            if len(taken) >= limits.BATCH_TURNS_MAX or size_bytes >= limits.BATCH_BYTES_MAX:
                break
            one = arrived.popleft()
            shard = one.message.partition
            saga_id = None if isinstance(one.message, Unreadable) else one.message.saga_id
            if shard not in closed:
                count = turns[saga_id] = turns.get(saga_id, 0) + 1
                if saga_id is None or count <= limits.BATCH_TURNS_PER_SAGA_MAX:
                    taken.append(one)
                    size_bytes += len(one.message.payload or b"")
                    continue
                closed.add(shard)
            left.append(one)
        arrived.extendleft(reversed(left))
        self._taken_bytes += size_bytes
        return taken

    def news(self) -> list[OutOfRange]:
        news = self._news
        return [news.popleft() for _ in range(len(news))]

    @property
    def waiting(self) -> int:
        """Messages that the main loop has not taken."""
        return len(self._arrived)

    def _run(self) -> None:
        while not self._stop.is_set():
            consumer = ShardConsumer(self._bootstrap, self._client_id, self._login)
            self._topic_id = None
            try:
                self._read(consumer)
            except _TopicMadeAgain:
                log.warning("%s was made again: a new client reads it", self._topic)
                self._ask_to_claim_anew()
            except AmendsError as error:
                log.warning("reading %s failed (%s); trying again in %s s", self._topic, error, RETRY_S)
                self._stop.wait(RETRY_S)
                self._ask_to_claim_anew()
            finally:
                consumer.close()

    def _ask_to_claim_anew(self) -> None:
        """The main loop does: it alone knows how far each shard has been committed."""
        self._news.extend(OutOfRange(shard, epoch, None) for shard, epoch in self._epochs.items())
        self._epochs.clear()
        self._unread.clear()
        self._wake()

    def _read(self, consumer: ShardConsumer) -> None:
        while not self._stop.is_set():
            self._carry_out_orders(consumer)
            if self._unread:
                self._take_up_again(consumer)
            if self._filled() > 1:
                # Back-pressure: librdkafka's own bounded queue fills, and the broker keeps the rest.
                while self._filled() > LOW_WATER and not self._stop.is_set() and self._orders.empty():
                    time.sleep(0.005)
                continue
            try:
                messages = consumer.poll(POLL_MAX, POLL_S)
            except OffsetOutOfRange as error:
                if (epoch := self._epochs.get(error.partition)) is not None:
                    low, _ = consumer.watermarks(self._topic, error.partition)
                    consumer.revoke([error.partition])
                    del self._epochs[error.partition]  # Only now: had Kafka not answered, nobody would read it again.
                    self._news.append(OutOfRange(error.partition, epoch, low))
                    self._wake()
                continue
            if messages and avro.has_registry():
                messages = self._held_back(consumer, messages)
            if messages:
                epochs = self._epochs
                self._arrived_bytes += sum(len(m.payload or b"") for m in messages)
                self._arrived.extend(Arrived(epochs.get(m.partition, -1), m) for m in messages)
                self._wake()

    def _held_back(self, consumer: ShardConsumer, messages: list[Envelope | Unreadable]) -> list[Envelope | Unreadable]:
        """Those that can be decoded. A shard is left at its first message that can't be yet, and the others go on.

        It is read again from there when the registry has answered, so nothing is kept here however long that takes.
        """
        readable: list[Envelope | Unreadable] = []
        for message in messages:
            if message.partition in self._unread:
                continue
            if isinstance(message, Unreadable) or avro.is_readable(message.payload):
                readable.append(message)
                continue
            self._unread[message.partition] = message
            consumer.revoke([message.partition])
        return readable

    def _take_up_again(self, consumer: ShardConsumer) -> None:
        for shard, message in list(self._unread.items()):
            if avro.is_readable(message.payload):
                del self._unread[shard]
                consumer.assign(self._topic, {shard: message.offset})

    def _filled(self) -> float:
        """How much of what may lie here lies here, by number or by bytes: 1 is full."""
        waiting_bytes = self._arrived_bytes - self._taken_bytes
        return max(len(self._arrived) / limits.INBOUND_QUEUE_MAX, waiting_bytes / limits.INBOUND_BYTES_MAX)

    def _carry_out_orders(self, consumer: ShardConsumer) -> None:
        if (first := self._first) is not None:
            self._first = None
            first(consumer)
        while not self._orders.empty():
            self._orders.get()(consumer)
