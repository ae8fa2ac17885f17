"""The intake over a reader that does what a test wants: back-pressure, and what is done when Kafka fails it."""

import threading
from collections.abc import Callable, Iterator

import pytest

from orchestrator import limits
from orchestrator.engine import intake
from orchestrator.engine.intake import Intake, OutOfRange
from orchestrator.errors import DependencyError
from orchestrator.messaging import avro
from orchestrator.messaging.envelope import Envelope, Unreadable
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


# ---- a schema that the registry has not said yet ---------------------------------------------------------------------


class Shards:
    """A consumer of two shards; `logs` are their payloads. It reads on from where it was told to, as Kafka's does."""

    def __init__(self, logs: dict[int, list[bytes]]) -> None:
        self.logs = logs
        self.at: dict[int, int] = {}
        self.assigned: list[tuple[int, int]] = []

    def assign(self, topic: str, offsets: dict[int, int]) -> None:
        self.at |= offsets
        self.assigned += offsets.items()

    def revoke(self, shards: list[int]) -> None:
        for shard in shards:
            self.at.pop(shard, None)

    def poll(self, messages_max: int, timeout_s: float) -> list[Envelope]:
        found = []
        for shard, offset in self.at.items():
            payloads = self.logs[shard][offset : offset + messages_max]
            found += [envelope(shard, offset + n, payload) for n, payload in enumerate(payloads)]
            self.at[shard] = offset + len(payloads)
        if not found:
            threading.Event().wait(timeout_s)
        return found

    def close(self) -> None:
        self.at.clear()


class Ids:
    """A registry that says what it is told to say."""

    def __init__(self) -> None:
        self.known: set[int] = set()
        self.asked: set[int] = set()

    def ready(self, schema_id: int) -> bool:
        self.asked.add(schema_id)
        return schema_id in self.known


def envelope(shard: int, offset: int, payload: bytes) -> Envelope:
    return Envelope(
        topic="sagas", partition=shard, offset=offset, timestamp_ms=0, key="k", id="i", type="T", kind="message",
        payload=payload, saga_id=f"{shard}-{offset}",
    )  # fmt: skip


OLD, PENDING, OTHER = b"\xc3\x01 old", b"\x00\x00\x00\x00\x07new", b"\x00\x00\x00\x00\x08new"


@pytest.fixture
def ids() -> Iterator[Ids]:
    source = Ids()
    avro.read_ids(source)
    yield source
    avro.read_ids(None)


@pytest.fixture
def read_shards(monkeypatch: pytest.MonkeyPatch, ids: Ids) -> Iterator[Callable[..., tuple[Intake, Shards]]]:
    made: list[Intake] = []

    def make(**logs: list[bytes]) -> tuple[Intake, Shards]:
        shards = Shards({int(name[1:]): payloads for name, payloads in logs.items()})
        monkeypatch.setattr(intake, "ShardConsumer", lambda *_: shards)
        made.append(Intake("nowhere", "sagas", "test", wake=lambda: None))
        made[0].start()
        for shard in shards.logs:
            made[0].read_from(shard, 1, 0, "id")
        return made[0], shards

    yield make
    for one in made:
        one.stop()


def taken(reading: Intake, into: list[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    def more() -> bool:
        into.extend((one.message.partition, one.message.offset) for one in reading.take())
        return len(into) >= count

    eventually(more, 20, f"{count} messages")
    return into


def test_a_shard_waits_at_a_schema_that_is_not_known_yet_and_the_others_go_on(read_shards, ids: Ids) -> None:
    reading, shards = read_shards(_0=[OLD, PENDING, OLD, OTHER, OLD], _1=[OLD] * 50)
    found = taken(reading, [], 51)
    eventually(lambda: 7 in ids.asked, 20, "it is asked for")
    assert 0 not in shards.at, "the shard is not fetched in vain"
    assert [offset for shard, offset in found if shard == 0] == [0]
    assert reading.waiting == 0, "what can't be read keeps no place, and no main loop awake"
    shards.logs[1] += [OLD] * 50
    taken(reading, found, 101)
    assert [offset for shard, offset in found if shard == 0] == [0]
    ids.known.add(7)
    taken(reading, found, 103)
    assert [offset for shard, offset in found if shard == 0] == [0, 1, 2], "in order, nothing left out or read twice"
    eventually(lambda: 8 in ids.asked, 20, "the next one is asked for")
    ids.known.add(8)
    taken(reading, found, 105)
    assert [offset for shard, offset in found if shard == 0] == [0, 1, 2, 3, 4]


def test_a_shard_that_is_claimed_anew_meanwhile_begins_where_its_claim_says(read_shards, ids: Ids) -> None:
    reading, shards = read_shards(_0=[OLD, PENDING, OLD])
    found = taken(reading, [], 1)
    eventually(lambda: 0 in reading._unread, 20, "it waits")
    reading.read_from(0, 2, 2, "id")
    taken(reading, found, 2)
    ids.known.add(7)
    assert found == [(0, 0), (0, 2)]
    assert shards.assigned == [(0, 0), (0, 2)], "the former claim's place is not taken up again"


def test_a_shard_that_is_given_away_meanwhile_is_not_taken_up_again(read_shards, ids: Ids) -> None:
    reading, shards = read_shards(_0=[PENDING], _1=[OLD])
    found = taken(reading, [], 1)
    eventually(lambda: 0 in reading._unread, 20, "it waits")
    reading.stop_reading(0)
    eventually(lambda: not reading._unread, 20, "the order is carried out")
    ids.known.add(7)
    shards.logs[1].append(OLD)
    assert taken(reading, found, 2) == [(1, 0), (1, 1)]
    assert 0 not in shards.at
