"""The run's servers are the real ones: SQL in a database of one's own, a message through a topic of one's own."""

import os
from collections.abc import Callable

import psycopg
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from orchestrator.local.stack import Stack
from tests.deadlines import deadline
from tests.servers import create_template, database_name, drop_databases


def test_postgres_is_18_and_set_up_for_logical_replication(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        assert connection.info.server_version // 10_000 == 18
        assert connection.execute("SHOW wal_level").fetchone() == ("logical",)
        assert connection.execute("SHOW max_replication_slots").fetchone() == ("64",)


def test_a_message_goes_through_kafka(kafka_bootstrap_servers: str, topic_prefix: str) -> None:
    topic = f"{topic_prefix}orders"
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap_servers})
    admin.create_topics([NewTopic(topic, num_partitions=2, replication_factor=1)])[topic].result()
    producer = Producer({"bootstrap.servers": kafka_bootstrap_servers, "enable.idempotence": True})
    producer.produce(topic, b"a value", b"a key")
    assert producer.flush(deadline(10)) == 0
    settings = {"bootstrap.servers": kafka_bootstrap_servers, "group.id": topic, "auto.offset.reset": "earliest"}
    consumer = Consumer({**settings, "group.protocol": "consumer"})
    consumer.subscribe([topic])
    try:
        message = consumer.poll(deadline(20))
        assert message is not None  # Not `if message`: a Message has a length.
        assert (message.key(), message.value()) == (b"a key", b"a value")
    finally:
        consumer.close()


def test_each_test_has_databases_of_its_own(make_database: Callable[[], str], stack: Stack) -> None:
    one, other = make_database(), make_database()
    with psycopg.connect(one) as connection:
        connection.execute("CREATE TABLE only_here (n int)")
    with psycopg.connect(other) as connection:
        assert connection.execute("SELECT to_regclass('only_here')").fetchone() == (None,)
    assert database_name(stack.database_url) not in (database_name(one), database_name(other))


def test_a_template_is_built_once_and_copied(stack: Stack) -> None:
    built: list[str] = []

    def build(url: str) -> None:
        built.append(url)
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE in_the_template (n int)")

    name = f"own_{os.getpid()}"
    assert create_template(stack.database_url, name, build) == create_template(stack.database_url, name, build)
    assert len(built) == 1


def test_a_database_is_dropped_with_a_slot_that_is_in_use(stack: Stack, database_url: str) -> None:
    """A test that fails leaves its relay's slot behind, often with a sender on it."""
    slot = f"left_behind_{os.getpid()}"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [slot])
        drop_databases(stack.database_url, database_name(database_url))
    with psycopg.connect(stack.database_url) as connection:
        assert connection.execute("SELECT 1 FROM pg_replication_slots WHERE slot_name = %s", [slot]).fetchone() is None
