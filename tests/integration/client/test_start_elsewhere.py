"""A start from a service's own database: an outbox of ours, no sagas."""

import json
import uuid

import psycopg
import pytest

from orchestrator.client import Started, SyncClient
from orchestrator.local.stack import Stack
from orchestrator.messaging import control
from orchestrator.migrations import migrate
from orchestrator.settings import Settings
from outbox_relay.errors import TopicUnknown
from outbox_relay.rows import murmur2
from tests.integration.client.fake_type import checkout
from tests.integration.client.sagas import Order
from tests.servers import create_template

ORDER = Order(order_id="7")


def ask(url, sql: str) -> list[tuple]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(sql.encode()).fetchall()


@pytest.fixture(scope="session")
def database_template(stack: Stack) -> str:
    def build(url: str) -> None:
        migrate(url, parts=["outbox"], topics={"shop.sagas": 4})

    return create_template(stack.database_url, "client_other", build)


def test_the_start_is_an_outbox_row_and_nobody_knows_yet(database_url: str) -> None:
    client = SyncClient(Settings(database_url="postgresql://nowhere", topic_prefix="shop."))  # type: ignore[arg-type]
    with psycopg.connect(database_url) as connection:
        assert client.start(checkout, ORDER, id="order-7", connection=connection) == Started("order-7", None)
    [(topic, partition, payload)] = ask(
        database_url, "SELECT aggregatetype, partition, payload FROM amends.outbox WHERE kind = 'start'"
    )
    assert (topic, partition) == ("shop.sagas", murmur2(b"order-7") % 4)
    start = control.Start.decode(payload)
    assert (start.type, start.version, json.loads(start.input)) == ("checkout", 3, ORDER.model_dump())
    uuid.UUID(start.uid)


def test_a_topic_that_this_database_does_not_know_says_what_to_type(database_url: str) -> None:
    client = SyncClient(Settings(database_url="postgresql://nowhere"))  # type: ignore[arg-type]
    with psycopg.connect(database_url) as connection, pytest.raises(TopicUnknown, match="amends migrate"):
        client.start(checkout, ORDER, id="order-7", connection=connection)
