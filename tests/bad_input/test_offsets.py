"""Offsets that the log does not have: it begins later (retention), or ends earlier (a leader had lost the tail)."""

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.bad_input import program
from tests.bad_input.program import Go, till, two_payments
from tests.bad_input.world import World
from tests.deadlines import deadline

GONE = "does not reach to offset"


def end_of(world: World, topic: str) -> int:
    consumer = Consumer({"bootstrap.servers": world.system.settings.kafka_bootstrap_servers, "group.id": "ends"})
    try:
        return consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)[1]
    finally:
        consumer.close()


def delete_all_records(world: World, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": world.system.settings.kafka_bootstrap_servers})
    place = TopicPartition(topic, 0, end_of(world, topic))
    admin.delete_records([place])[place].result()


def test_what_retention_deleted_unread_is_sent_again(empty_world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The orchestrator was away; meanwhile starts and answers came and went."""
    world = empty_world
    stop_relay = world.system.relay()
    world.system.participants([till])
    stop = world.system.orchestrator(program.app.sagas)
    world.client.start(two_payments, "p", id="p")
    world.eventually(lambda: world.turns("p") == 2, "it waits for its message")
    stop()
    world.client.start(two_payments, "q", id="q")
    world.client.send("p", Go())
    world.eventually(lambda: world.system.rows("SELECT 1 FROM amends.outbox") == [], "Kafka has them")
    delete_all_records(world, world.topics.sagas)
    world.system.orchestrator(program.app.sagas)
    world.neighbours_go_on(60)
    assert GONE in caplog.text
    world.eventually(lambda: world.paid("q") == 1, "the start that nobody read leaves Postgres again", 60)
    # Its message was acknowledged and deleted: a person sends it again from what the relay keeps.
    with world.system.stack.enter_context(_session(world)) as session:
        from outbox_relay import sent

        assert sent.resend_since(session, world.topics.sagas, "2000-01-01 00:00:00+00") >= 2
    world.client.send("q", Go())
    for saga_id in ("p", "q"):
        assert world.client.result(two_payments, saga_id, timeout=deadline(60)) == 11
        assert world.paid(saga_id) == 11
    stop_relay()


def _session(world: World):
    from outbox_relay.postgres import connect

    return connect(world.system.url, "test")


def test_an_offset_beyond_the_end_is_noticed_and_the_log_is_read_from_its_beginning(
    empty_world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world = empty_world
    world.system.relay()
    world.system.participants([till])
    stop = world.system.orchestrator(program.app.sagas)
    world.client.start(two_payments, "p", id="p")
    world.eventually(lambda: world.turns("p") == 2, "it waits for its message")
    stop()
    world.system.execute("UPDATE amends.shards SET next_offset = 1000000")
    world.client.send("p", Go())
    world.system.orchestrator(program.app.sagas)
    assert world.client.result(two_payments, "p", timeout=deadline(60)) == 11
    assert GONE in caplog.text
    assert world.paid("p") == 11, "what was read a second time was known"
    world.neighbours_go_on()


@pytest.mark.parametrize("where", ["before", "beyond"])
def test_a_participants_offset_outside_of_the_log_costs_repetitions_and_no_command(
    empty_world: World, where: str
) -> None:
    world = empty_world
    world.system.relay()
    stop = world.system.participants([till])
    world.system.orchestrator(program.app.sagas)
    world.neighbours_go_on()
    stop()
    topic, group = world.topics.commands("till"), f"{world.system.settings.topic_prefix}till"
    servers = world.system.settings.kafka_bootstrap_servers
    topic_id = world.system.rows("SELECT topic_id FROM amends.topics WHERE topic = %s", topic)[0][0]
    if where == "before":
        delete_all_records(world, topic)
    offset = 0 if where == "before" else 1_000_000
    member = Consumer({"bootstrap.servers": servers, "group.id": group, "enable.auto.commit": False})
    member.commit(offsets=[TopicPartition(topic, 0, offset, topic_id)], asynchronous=False)
    member.close()
    world.client.start(two_payments, "p", id="p")
    world.eventually(lambda: world.system.rows("SELECT 1 FROM amends.outbox") == [], "its command is in Kafka")
    world.system.participants([till])
    world.eventually(lambda: world.paid("p") == 1, "it is read", 60)
    world.neighbours_go_on()
    assert world.paid("neighbour-1") == 1, "what came a second time was known by its key"
