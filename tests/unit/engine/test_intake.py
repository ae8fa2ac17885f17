"""The intake over a reader that does what a test wants: back-pressure, and what is done when Kafka fails it."""

import threading
from collections.abc import Callable, Iterator

import pytest

from orchestrator import limits
from orchestrator.engine import intake
from orchestrator.engine.intake import Intake, OutOfRange
from orchestrator.errors import DependencyError
from orchestrator.messaging.envelope import Unreadable
from orchestrator.messaging.kafka_errors import OffsetOutOfRange
from tests.deadlines import eventually

FLOOD = 50_000


def _message(offset: int) -> Unreadable:
    return Unreadable(topic="sagas", partition=0, offset=offset, headers=(), payload=b"", error="rubbish")


class Reader:
    """A consumer of one endless shard. `trouble` raises instead of the next poll, once."""

    def __init__(self) -> None:
        self.next_offset = 0
        self.assigned: dict[int, int] = {}
        self.trouble: list[DependencyError] = []
        self.no_watermarks = 0
        self.closed = 0

    def assign(self, topic: str, offsets: dict[int, int]) -> None:
        self.assigned |= offsets
        self.next_offset = min(offsets.values())

    def revoke(self, shards: list[int]) -> None:
        for shard in shards:
            self.assigned.pop(shard, None)

    def poll(self, messages_max: int, timeout_s: float) -> list[Unreadable]:
        if self.trouble:
            raise self.trouble.pop()
        if not self.assigned or self.next_offset >= FLOOD:
            threading.Event().wait(timeout_s)
            return []
        first = self.next_offset
        self.next_offset = min(first + messages_max, FLOOD)
        return [_message(n) for n in range(first, self.next_offset)]

    def watermarks(self, topic: str, shard: int) -> tuple[int, int]:
        if self.no_watermarks:
            self.no_watermarks -= 1
            raise DependencyError("no broker answers")
        return 7, FLOOD

    def close(self) -> None:
        self.closed += 1
        self.assigned.clear()


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def reading(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> Iterator[Intake]:
    monkeypatch.setattr(intake, "ShardConsumer", lambda *_: reader)
    reading = Intake("nowhere", "sagas", "test", wake=lambda: None)
    reading.start()
    yield reading
    reading.stop()


def news(reading: Intake) -> Callable[[], list[OutOfRange]]:
    return lambda: reading.news()


def test_it_stops_reading_when_enough_waits_and_goes_on_when_less_does(reading: Intake, reader: Reader) -> None:
    reading.read_from(0, 1, 0, "t1")
    eventually(lambda: reading.waiting > limits.INBOUND_QUEUE_MAX, 10, "the queue is full")
    full, most = reading.waiting, limits.INBOUND_QUEUE_MAX + intake.POLL_MAX
    assert full <= most
    taken: list[int] = []
    while len(taken) < FLOOD:
        assert reading.waiting <= most
        taken += [one.message.offset for one in reading.take()]
        if not reading.waiting:
            eventually(lambda: reading.waiting or reader.next_offset >= FLOOD, 10, "it goes on")
    assert taken == list(range(FLOOD))


def test_orders_are_carried_out_while_it_holds_back(reading: Intake, reader: Reader) -> None:
    """A shard that was lost must not be read on only because there is too much of it."""
    reading.read_from(0, 1, 0, "t1")
    eventually(lambda: reading.waiting > limits.INBOUND_QUEUE_MAX, 10, "the queue is full")
    reading.stop_reading(0)
    eventually(lambda: not reader.assigned, 10, "the shard is given up")


def test_a_reader_that_fails_is_told_of_so_that_its_shards_are_claimed_anew(reading: Intake, reader: Reader) -> None:
    reading.read_from(0, 5, 49_999, "t1")
    reader.trouble.append(DependencyError("the topic is gone"))
    assert eventually(news(reading), 10, "news of the shard") == [OutOfRange(0, 5, None)]


def test_a_log_that_begins_elsewhere_is_told_of_even_if_kafka_does_not_answer_then(
    reading: Intake, reader: Reader
) -> None:
    reading.read_from(0, 5, 49_999, "t1")
    eventually(lambda: reader.assigned, 10, "the shard is read")
    reader.no_watermarks = 1
    reader.trouble.append(OffsetOutOfRange("sagas", 0))
    assert eventually(news(reading), 10, "news of the shard") == [OutOfRange(0, 5, None)]
    reading.read_from(0, 6, 49_999, "t1")
    eventually(lambda: reader.assigned, 10, "the shard is read")
    reader.trouble.append(OffsetOutOfRange("sagas", 0))
    assert eventually(news(reading), 10, "news of the shard") == [OutOfRange(0, 6, 7)]


def test_a_topic_that_was_made_again_is_read_by_a_new_client(reading: Intake, reader: Reader) -> None:
    """The old one may read nothing of it for minutes; its other shards are claimed anew."""
    reading.read_from(1, 5, 49_999, "t1")
    reading.read_from(0, 5, 49_999, "t1")
    eventually(lambda: len(reader.assigned) == 2, 10, "both shards are read")
    reading.read_from(0, 6, 0, "t2")
    eventually(lambda: reader.assigned == {0: 0}, 10, "the shard is read from its beginning")
    assert reader.closed == 1
    assert set(eventually(news(reading), 10, "news of the shards")) == {OutOfRange(0, 5, None), OutOfRange(1, 5, None)}
    reading.read_from(1, 6, 0, "t2")
    eventually(lambda: reader.assigned.keys() == {0, 1}, 10, "the other shard is read, too")
    assert reader.closed == 1
