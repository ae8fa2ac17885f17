"""The Kafka client against a real broker."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Producer

from orchestrator import limits
from orchestrator.contracts import Command, Event, Message
from orchestrator.errors import DependencyError
from orchestrator.messaging import avro, kafka_admin, outgoing
from orchestrator.messaging.envelope import Envelope, Unreadable
from orchestrator.messaging.kafka import ShardConsumer
from orchestrator.messaging.kafka_admin import Admin
from orchestrator.messaging.kafka_errors import OffsetOutOfRange, TopicMissing
from orchestrator.messaging.kafka_group import GroupConsumer
from orchestrator.messaging.topics import Topics, ensure_topics, register_topics
from outbox_relay import outbox
from outbox_relay.rows import HEADER_COLUMNS, kafka_headers, murmur2
from tests.deadlines import deadline, eventually
from tests.integration.messaging import raw_producer

OUTBOX_SQL = sorted((Path(outbox.__file__).parent / "sql").glob("*.sql"))
HEADERS = [("id", b"i-1"), ("type", b"T"), ("seq", b"1"), ("kind", b"message"), ("nonce", None)]


@pytest.fixture
def admin(kafka_bootstrap_servers: str) -> Admin:
    return Admin(kafka_bootstrap_servers)


@pytest.fixture
def topic(admin: Admin, topic_prefix: str) -> str:
    """Three partitions."""
    name = f"{topic_prefix}sagas"
    admin.ensure_topics({name: 3})
    return name


@pytest.fixture
def send(kafka_bootstrap_servers: str) -> Callable[..., None]:
    def send(topic: str, partition: int, *values: bytes | None, headers=HEADERS) -> None:
        # A producer of its own: one that was there before a topic was made again may hold the topic for missing.
        producer = Producer({"bootstrap.servers": kafka_bootstrap_servers, "enable.idempotence": True, "linger.ms": 0})
        errors: list[object] = []
        for value in values:
            producer.produce(
                topic,
                value,
                b"key",
                partition=partition,
                headers=headers,
                on_delivery=lambda error, _: errors.append(error),
            )
        assert producer.flush(deadline(10)) == 0
        assert errors == [None] * len(values)  # a message that was given up has left the queue, too

    return send


@pytest.fixture
def shards(kafka_bootstrap_servers: str) -> Iterator[ShardConsumer]:
    consumer = ShardConsumer(kafka_bootstrap_servers, "test")
    yield consumer
    consumer.close()


@pytest.fixture
def join(kafka_bootstrap_servers: str, topic_prefix: str) -> Iterator[Callable[..., GroupConsumer]]:
    members: list[GroupConsumer] = []

    def join(**more) -> GroupConsumer:
        members.append(GroupConsumer(kafka_bootstrap_servers, f"{topic_prefix}group", f"m{len(members)}", **more))
        return members[-1]

    yield join
    with ThreadPoolExecutor() as pool:
        list(pool.map(GroupConsumer.close, members))


def drain(consumer, count: int, *, messages_max: int = 100) -> list[Envelope | Unreadable]:
    read: list[Envelope | Unreadable] = []

    def more() -> bool:
        read.extend(consumer.poll(messages_max, 0.1))
        return len(read) >= count

    eventually(more, 15, f"{count} messages")
    return read


def stays_empty(consumer) -> bool:
    """Three long polls without a message: what would have come is there at once."""
    return all(consumer.poll(10, 0.2) == [] for _ in range(3))


def places(read) -> list[tuple[int, int]]:
    return sorted((message.partition, message.offset) for message in read)


# ---- shards ----------------------------------------------------------------------------------------------------------


def test_a_shard_is_read_from_the_offset_that_is_given(shards, send, topic):
    send(topic, 0, b"a", b"b", b"c")
    send(topic, 1, b"d", b"e")
    shards.assign(topic, {0: 1, 1: 0})
    read = drain(shards, 4)
    assert places(read) == [(0, 1), (0, 2), (1, 0), (1, 1)]
    (first,) = (message for message in read if (message.partition, message.offset) == (0, 1))
    assert first == Envelope(
        topic=topic,
        partition=0,
        offset=1,
        timestamp_ms=first.timestamp_ms,
        key="key",
        id="i-1",
        type="T",
        kind="message",
        payload=b"b",
    )
    assert abs(first.timestamp_ms / 1000 - time.time()) < 60


@pytest.mark.serial
def test_a_client_that_had_nothing_to_do_reads_at_once(kafka_bootstrap_servers, send, topic):
    """Left to itself it asks for a topic with the tick of its clock, a second after it was made, every other time.
    So the time is counted from then, and of a dozen a few may be late for other reasons.
    """
    send(topic, 0, b"a")
    late = 0
    for n in range(12):
        consumer, made_s = ShardConsumer(kafka_bootstrap_servers, f"idle-{n}"), time.monotonic()
        time.sleep(0.1)  # with nothing to do
        consumer.assign(topic, {0: 0})
        drain(consumer, 1)
        late += time.monotonic() - made_s > 0.95
        consumer.close()
    assert late <= 2


def test_shards_come_and_go_without_disturbing_the_others(shards, send, topic):
    shards.assign(topic, {0: 0})
    send(topic, 0, b"a")
    assert places(drain(shards, 1)) == [(0, 0)]
    shards.assign(topic, {2: 0})
    send(topic, 2, b"b")
    assert places(drain(shards, 1)) == [(2, 0)]
    shards.revoke([0])
    send(topic, 0, b"c")
    send(topic, 2, b"d")
    assert places(drain(shards, 1)) == [(2, 1)]
    assert stays_empty(shards)


def test_a_shard_that_is_assigned_again_begins_at_its_new_offset(shards, send, topic):
    """What was fetched ahead from the old place must not come out behind it: it would be skipped or doubled."""
    send(topic, 0, *(b"%d" % n for n in range(50)))
    shards.assign(topic, {0: 0})
    assert places(drain(shards, 1, messages_max=1)) == [(0, 0)]
    shards.assign(topic, {0: 20})
    assert places(drain(shards, 30)) == [(0, n) for n in range(20, 50)]
    shards.revoke([0])
    shards.assign(topic, {0: 49})
    assert places(drain(shards, 1)) == [(0, 49)]


def test_one_poll_takes_what_is_there_and_no_more_than_it_is_told(shards, send, topic):
    send(topic, 0, *(b"x" for _ in range(500)))
    shards.assign(topic, {0: 0})
    sizes = []

    def all_read() -> bool:
        sizes.append(len(shards.poll(200, 0.5)))
        return sum(sizes) == 500

    eventually(all_read, 15, "500 messages")
    assert max(sizes) <= 200
    assert len([size for size in sizes if size]) < 50  # by the batch, not one by one


def test_an_empty_value_is_a_message_and_none_of_ours_is_named(shards, send, topic):
    send(topic, 0, b"")
    send(topic, 0, None)
    send(topic, 0, b"x", headers=[("type", b"T")])
    shards.assign(topic, {0: 0})
    empty, tombstone, foreign = drain(shards, 3)
    assert empty.payload == b""
    assert "tombstone" in tombstone.error
    assert "no header id" in foreign.error
    assert foreign.headers == (("type", b"T"),)


def test_a_header_whose_name_is_not_text_stops_nobody(shards, send, topic, kafka_bootstrap_servers):
    """In the client it is a crash of the process, but only once the reading code is warm."""
    poisoned = [(b"id", b"1"), (b"type", b"T"), (b"\xff\xfe", b"x")]
    send(topic, 0, *(b"before" for _ in range(200)))
    raw_producer.send(kafka_bootstrap_servers, topic, b"poison", poisoned)
    send(topic, 0, b"behind")
    shards.assign(topic, {0: 0})
    *before, poison, behind = drain(shards, 202)
    assert len(before) == 200
    assert behind.payload == b"behind"
    assert isinstance(poison, Unreadable)
    assert (poison.payload, poison.offset) == (b"poison", 200)
    assert "not UTF-8" in poison.error


def test_an_offset_that_is_not_in_the_log_is_told_by_its_partition(shards, send, topic):
    send(topic, 0, b"a")
    shards.assign(topic, {0: 0, 1: 99})
    read = []

    def raised() -> OffsetOutOfRange | None:
        try:
            read.extend(shards.poll(10, 0.1))
        except OffsetOutOfRange as error:
            return error
        return None

    error = eventually(raised, 15, "OffsetOutOfRange")
    assert (error.topic, error.partition) == (topic, 1)
    if not read:
        read = drain(shards, 1)  # the other shard goes on
    assert places(read) == [(0, 0)]


def test_the_ends_of_the_log(shards, admin, send, topic):
    send(topic, 0, b"a", b"b")
    send(topic, 2, b"c")
    assert shards.watermarks(topic, 0) == (0, 2)
    assert admin.ends(topic, [0, 1, 2]) == {0: 2, 1: 0, 2: 1}
    assert admin.ends(topic, []) == {}


def test_a_topic_that_is_gone_is_told(shards, admin, send, topic):
    send(topic, 0, b"a")
    shards.assign(topic, {0: 0})
    drain(shards, 1)
    before = admin.topic_ids([topic])
    admin.delete_topics([topic])
    assert admin.topic_ids([topic]) == {}
    with pytest.raises(TopicMissing, match=topic):
        shards.watermarks(topic, 0)
    admin.ensure_topics({topic: 3})
    assert admin.topic_ids([topic])[topic] != before[topic]


def test_a_big_message_passes(shards, send, topic):
    send(topic, 0, b"x" * (limits.MESSAGE_BYTES_MAX - 1000))
    shards.assign(topic, {0: 0})
    assert len(drain(shards, 1)[0].payload) == limits.MESSAGE_BYTES_MAX - 1000


# ---- a command, all the way ------------------------------------------------------------------------------------------


class KafkaBooked(Message):
    ref: str


class KafkaBook(Command[KafkaBooked], service="couriers"):
    order_id: str


class KafkaDelivered(Event, topic="deliveries", key="number"):
    number: int


@pytest.mark.parametrize("nulls", [False, True], ids=["by the relay", "by Debezium"])
def test_a_command_as_it_would_be_written(shards, send, topic, nulls):
    request = outgoing.Request(
        topic=topic,
        saga_id="o-1",
        operation_key="uid:0:3",
        attempt=1,
        type="KafkaBook",
        reply_to=outgoing.reply_to(topic, 2),
        nonce="n",
        expires_at="2026-01-02T00:00:00+00:00",
    )
    row = outgoing.command_row(request, {"order_id": "1"})
    columns = [row.headers[name].encode() if name in row.headers else None for name in HEADER_COLUMNS]
    headers = kafka_headers(7, b"1", row.type.encode(), columns)
    absent = [(name, None) for name in HEADER_COLUMNS if name not in row.headers]
    send(topic, 1, row.payload, headers=headers + absent if nulls else headers)
    shards.assign(topic, {1: 0})
    (got,) = drain(shards, 1)
    assert avro.decode(got.payload) == {"order_id": "1"}
    assert outgoing.partition_of(outgoing.ReturnAddress.of(got).reply_to) == (topic, 2)
    assert got.traceparent is None


# ---- groups ----------------------------------------------------------------------------------------------------------


def test_a_group_reads_on_where_it_committed(join, send, topic):
    send(topic, 0, b"a", b"b", b"c")
    member = join()
    member.subscribe([topic], lambda _: None)
    assert len(drain(member, 3)) == 3
    assert member.commit({(topic, 0): 2}) is True
    assert member.commit({}) is True
    member.close()
    second = join()
    second.subscribe([topic], lambda _: None)
    assert places(drain(second, 1)) == [(0, 2)]


def test_members_share_the_partitions_and_what_is_revoked_can_be_committed_first(join, send, topic):
    first, second = join(), join()
    revoked, committed = [], []

    def hand_over(gone) -> None:
        revoked.extend(gone)
        committed.append(first.commit({(topic, 0): 1, (topic, 1): 1, (topic, 2): 1}))

    for partition in range(3):
        send(topic, partition, b"a", b"b")
    first.subscribe([topic], hand_over)
    drain(first, 6)
    second.subscribe([topic], lambda _: None)
    read = []

    def shared() -> bool:
        first.poll(10, 0.05)
        read.extend(second.poll(10, 0.05))
        return bool(second.assignment()) and len(first.assignment()) + len(second.assignment()) == 3

    eventually(shared, 20, "both members hold partitions")
    assert revoked == second.assignment()
    assert committed == [True]
    if not read:
        read = drain(second, 1)
    assert places(read)[0] == (revoked[0][1], 1)
    # A partition that is the other's by now is left out of a commit.
    assert first.commit({revoked[0]: 0}) is False


def test_a_member_that_leaves_is_followed_at_once(join, topic):
    first, second = join(), join()
    first.subscribe([topic], lambda _: None)
    second.subscribe([topic], lambda _: None)

    def both() -> bool:
        first.poll(10, 0.05)
        second.poll(10, 0.05)
        return bool(first.assignment()) and bool(second.assignment())

    eventually(both, 20, "both members hold partitions")
    first.close()
    eventually(lambda: second.poll(10, 0.05) or len(second.assignment()) == 3, 5, "the rest has all partitions")


def made_again(admin: Admin, topic: str, send, *values: bytes) -> None:
    """The topic under the same name, with these messages in its first partition: as after a wipe, but quicker."""
    admin.delete_topics([topic])
    admin.ensure_topics({topic: 3})
    send(topic, 0, *values)


def test_offsets_of_a_topic_that_was_made_again_do_not_skip_its_messages(join, send, topic, admin):
    send(topic, 0, b"a", b"b", b"c")
    member = join()
    member.subscribe([topic], lambda _: None)
    assert len(drain(member, 3)) == 3
    made_again(admin, topic, send, b"d", b"e", b"f", b"g")
    # What it had in hand is done only now: the offset is kept in the new topic, and means nothing there.
    assert member.commit({(topic, 0): 3}) is True
    member.close()
    second = join()
    second.subscribe([topic], lambda _: None)
    assert places(drain(second, 4)) == [(0, 0), (0, 1), (0, 2), (0, 3)]


def test_a_member_at_work_reads_a_topic_that_was_made_again_from_its_beginning(join, send, topic, admin):
    send(topic, 0, b"a", b"b")
    member = join()
    member.subscribe([topic], lambda _: None)
    assert len(drain(member, 2)) == 2
    assert member.commit({(topic, 0): 2}) is True
    made_again(admin, topic, send, b"c", b"d", b"e")
    read: set[bytes | None] = set()

    def all_new() -> bool:
        read.update(message.payload for message in member.poll(10, 0.1))
        return read >= {b"c", b"d", b"e"}

    eventually(all_new, 30, "the messages of the new topic")


MEMBER = """
import sys
from orchestrator.messaging.kafka_group import GroupConsumer
member = GroupConsumer(sys.argv[1], sys.argv[2], "doomed")
member.subscribe([sys.argv[3]], lambda places: None)
while not member.assignment():
    member.poll(1, 0.1)
print("joined", flush=True)
while True:
    member.poll(1, 0.1)
"""


def test_a_member_that_is_killed_is_followed_soon(join, kafka_bootstrap_servers, topic_prefix, topic):
    command = [sys.executable, "-c", MEMBER, kafka_bootstrap_servers, f"{topic_prefix}group", topic]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as doomed:
        try:
            assert doomed.stdout.readline() == "joined\n"
            doomed.send_signal(signal.SIGKILL)
        finally:
            doomed.kill()
    member = join()
    member.subscribe([topic], lambda _: None)
    # The session of the dead one is 1.5 s; the broker's default would be 45 s.
    eventually(lambda: member.poll(10, 0.05) or len(member.assignment()) == 3, 10, "all partitions are taken over")


def test_a_paused_partition_is_taken_up_where_it_was(join, send, topic):
    member = join()
    member.subscribe([topic], lambda _: None)
    send(topic, 0, b"a", b"b")
    drain(member, 2)
    member.pause([(topic, 0)])
    send(topic, 0, b"c")
    send(topic, 1, b"d")
    assert places(drain(member, 1)) == [(1, 0)]
    member.resume([(topic, 0), (topic, 99)])
    assert places(drain(member, 1)) == [(0, 2)]


def test_a_broker_that_refuses_short_sessions_gets_a_longer_one(join, send, topic, caplog):
    send(topic, 0, b"a")
    member = join(session_timeout_ms=200)  # below the group.min.session.timeout.ms of every broker
    member.subscribe([topic], lambda _: None)
    assert places(drain(member, 1)) == [(0, 0)]
    assert member.session_timeout_ms == 6_000
    assert "group.min.session.timeout.ms" in caplog.text


def test_a_group_on_a_topic_that_is_missing_says_what_to_type(join, topic_prefix):
    member = join()
    member.subscribe([f"{topic_prefix}nowhere"], lambda _: None)

    def raised() -> DependencyError | None:
        try:
            member.poll(10, 0.1)
        except DependencyError as error:
            return error
        return None

    error = eventually(raised, 15, "TopicMissing")
    assert isinstance(error, TopicMissing)
    assert "amends migrate" in str(error)


def test_polling_leaves_other_threads_alone(shards, topic):
    shards.assign(topic, {0: 0})
    polled = threading.Thread(target=shards.poll, args=(1, 1.0))
    polled.start()
    began_s = time.monotonic()
    sum(range(100_000))
    assert time.monotonic() - began_s < 0.9 or not polled.is_alive()
    polled.join()


# ---- topics ----------------------------------------------------------------------------------------------------------


def test_an_apps_topics_are_made_and_registered(admin, topic_prefix, database_url, monkeypatch):
    topics = Topics(topic_prefix)
    needed = topics.needed([KafkaBook, KafkaDelivered], shards=6, partitions=2)
    found = ensure_topics(admin, needed)
    assert {name: count for name, (count, _) in found.items()} == needed
    assert ensure_topics(admin, needed) == found
    with psycopg.connect(database_url) as connection:
        for file in OUTBOX_SQL:
            connection.execute(file.read_text())
        register_topics(connection, {topics.sagas: (1, "old")})
        register_topics(connection, found)
        stored = connection.execute("SELECT topic, partitions, topic_id FROM amends.topics").fetchall()
        assert {name: (count, topic_id) for name, count, topic_id in stored} == found

        monkeypatch.setenv("AMENDS_TOPIC_PREFIX", topic_prefix)
        event_id = outbox.add(connection, KafkaDelivered(number=7))
        columns = "id, aggregatetype, aggregateid, type, payload, partition, kind, saga_id"
        (row,) = connection.execute(f"SELECT {columns} FROM amends.outbox").fetchall()
    payload = avro.encode(KafkaDelivered, {"number": 7})
    partition = murmur2(b"7") % 2
    assert row == (event_id, f"{topic_prefix}deliveries", "7", "KafkaDelivered", payload, partition, "event", None)


def test_too_few_partitions_name_the_command_to_type(admin, topic_prefix):
    admin.ensure_topics({f"{topic_prefix}sagas": 2})
    with pytest.raises(DependencyError, match=r"--alter --topic .* --partitions 8"):
        ensure_topics(admin, {f"{topic_prefix}sagas": 8})


def test_what_the_broker_and_the_topics_are_set_to(admin, topic):
    assert admin.broker_settings()["auto.create.topics.enable"] == "false"
    settings = admin.topic_settings([topic, f"{topic}-missing"])
    assert settings.keys() == {topic}
    assert settings[topic]["replication.factor"] == "1"


def test_no_broker_is_named_with_its_setting(monkeypatch):
    monkeypatch.setattr(kafka_admin, "CALL_TIMEOUT_S", 1.0)
    with pytest.raises(DependencyError, match="KAFKA_BOOTSTRAP_SERVERS"):
        Admin("127.0.0.1:1").broker_settings()
