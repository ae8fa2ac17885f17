"""8, MONEY: a topic was made again under a live owner and outgrew its offset: it skipped starts, without any error.

The owner compares the topic's id again and again while it holds a shard, whether it has messages and timers or not.
"""

import signal
import time
from uuid import uuid4

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from orchestrator.messaging.control import Start
from orchestrator.messaging.kafka_admin import Admin
from orchestrator.messaging.outgoing import start_row
from orchestrator.messaging.topics import Topics
from outbox_relay.rows import HEADER_COLUMNS
from tests.deadlines import deadline, eventually
from tests.integration.engine import kit
from tests.integration.engine.kit import SHARDS, System

APP = "tests.stories.waiting_app:app"


@pytest.fixture
def system(database_url, kafka_bootstrap_servers, topic_prefix):
    with kit.system(database_url, kafka_bootstrap_servers, topic_prefix) as made:
        yield made


def send_starts(system: System, names: list[str]) -> None:
    """Starts as the relay would send them, all to shard 0."""
    topic = Topics(system.settings.topic_prefix).sagas
    producer = Producer({"bootstrap.servers": system.settings.kafka_bootstrap_servers, "linger.ms": 0})
    for name in names:
        start = Start(uid=str(uuid4()), type="waits", version=1, input=f'"{name}"')
        row = start_row(topic=topic, shard=0, saga_id=name, start=start)
        headers = [("id", str(uuid4()).encode()), ("type", b"waits")]
        headers += [(n, row.headers[n].encode()) for n in HEADER_COLUMNS if n in row.headers]
        producer.produce(topic, row.payload, name.encode(), 0, headers=headers)
    assert producer.flush(deadline(20)) == 0


def make_the_topic_again(system: System) -> None:
    topic = Topics(system.settings.topic_prefix).sagas
    admin = AdminClient({"bootstrap.servers": system.settings.kafka_bootstrap_servers})
    broker = Admin(system.settings.kafka_bootstrap_servers)
    before = broker.topic_ids([topic])
    admin.delete_topics([topic])[topic].result(deadline(20))

    def made() -> bool:
        try:
            admin.create_topics([NewTopic(topic, SHARDS, 1)])[topic].result(deadline(20))
        except Exception:  # It is still being deleted.
            return False
        return True

    eventually(made, 20, "the topic is made again")
    # The controller answers before the broker follows: until then the broker still writes into the old one.
    eventually(lambda: broker.topic_ids([topic]) not in ({}, before), 20, "the broker has the new topic")


def started(system: System) -> set[str]:
    return {name for (name,) in system.rows("SELECT id FROM amends.sagas")}


@pytest.mark.parametrize("stopped", [True, False], ids=["stopped meanwhile", "at work"])
def test_a_topic_that_outgrew_the_owner_is_read_from_its_beginning(system: System, stopped: bool) -> None:
    owner = system.orchestrator_process(app=APP)
    before, after = [f"a{n}" for n in range(3)], [f"b{n}" for n in range(6)]
    send_starts(system, before)
    eventually(lambda: started(system) >= set(before), 40, "the first starts are taken")
    if stopped:
        owner.signal(signal.SIGSTOP)
    make_the_topic_again(system)
    send_starts(system, after)
    if stopped:
        time.sleep(0.1)
        owner.signal(signal.SIGCONT)
    eventually(lambda: started(system) >= {*before, *after}, 60, "the starts in the new topic are taken")
    assert not owner.ended
