"""A start commits with the caller's transaction or not at all; the same id is the same saga or is refused."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from orchestrator.client import Client, Started, SyncClient
from orchestrator.errors import DependencyError, PayloadError, RequestError, SagaIdTaken
from orchestrator.messaging import control
from orchestrator.settings import Settings
from outbox_relay.rows import murmur2
from tests.integration.client.fake_type import checkout, dispatch
from tests.integration.client.sagas import Order

ORDER = Order(order_id="7")


def ask(url: str, sql: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(sql.encode()).fetchall()


def test_a_start_is_a_saga_and_a_row_of_the_outbox(settings: Settings, database_url: str) -> None:
    with SyncClient(settings) as client:
        assert client.start(checkout, ORDER, id="order-7") == Started("order-7", True)
    [(uid, type_, version, shard, status, text)] = ask(
        database_url, "SELECT uid::text, type, version, shard, status, input FROM amends.sagas WHERE id = 'order-7'"
    )
    assert (type_, version, status, json.loads(text)) == ("checkout", 3, "queued", {"order_id": "7", "total": 100})
    assert shard == murmur2(b"order-7") % 4
    [(topic, key, row_type, partition, kind, saga_id, payload)] = ask(
        database_url, "SELECT aggregatetype, aggregateid, type, partition, kind, saga_id, payload FROM amends.outbox"
    )
    assert (topic, key, row_type, partition, kind, saga_id) == (
        "sagas",
        "order-7",
        "checkout",
        shard,
        "start",
        "order-7",
    )
    assert control.Start.decode(payload) == control.Start(uid=uid, type="checkout", version=3, input=text)


def test_the_same_start_again_does_nothing(settings: Settings, database_url: str) -> None:
    with SyncClient(settings) as client:
        client.start(checkout, ORDER, id="order-7")
        assert client.start(checkout, Order(order_id="7", total=100), id="order-7") == Started("order-7", False)
    assert ask(database_url, "SELECT count(*) FROM amends.outbox") == [(1,)]


def test_another_input_or_type_is_refused_and_says_which(settings: Settings, database_url: str) -> None:
    with SyncClient(settings) as client:
        client.start(checkout, ORDER, id="order-7")
        with pytest.raises(SagaIdTaken, match=r"order-7 already, with another input.*amends show order-7"):
            client.start(checkout, Order(order_id="8"), id="order-7")
        with pytest.raises(SagaIdTaken, match="of type checkout, not dispatch"):
            client.start(dispatch, "7", id="order-7")
    assert ask(database_url, "SELECT count(*) FROM amends.outbox") == [(1,)]


@pytest.mark.parametrize("commit", [True, False])
def test_it_joins_a_sync_transaction(settings: Settings, database_url: str, commit: bool) -> None:
    client = SyncClient(settings)
    engine = sqlalchemy.create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    with psycopg.connect(database_url) as connection:
        client.start(checkout, ORDER, id="by-psycopg", connection=connection)
        connection.commit() if commit else connection.rollback()
    with engine.connect() as plain:
        client.start(checkout, ORDER, id="by-connection", connection=plain)
        plain.commit() if commit else plain.rollback()
    with Session(engine) as session:
        client.start(checkout, ORDER, id="by-session", connection=session)
        session.commit() if commit else session.rollback()
    engine.dispose()
    found = [id for (id,) in ask(database_url, "SELECT id FROM amends.sagas ORDER BY id")]
    assert found == (["by-connection", "by-psycopg", "by-session"] if commit else [])
    assert ask(database_url, "SELECT count(*) FROM amends.outbox") == [(3 if commit else 0,)]
    assert client._pool is None  # it had no need of a connection of its own


@pytest.mark.parametrize("commit", [True, False])
async def test_it_joins_an_async_transaction(settings: Settings, database_url: str, commit: bool) -> None:
    client = Client(settings)
    engine = create_async_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await client.start(checkout, ORDER, id="by-psycopg", connection=connection)
        await (connection.commit() if commit else connection.rollback())
    async with engine.connect() as plain:
        await client.start(checkout, ORDER, id="by-connection", connection=plain)
        await (plain.commit() if commit else plain.rollback())
    async with AsyncSession(engine) as session:
        await client.start(checkout, ORDER, id="by-session", connection=session)
        await (session.commit() if commit else session.rollback())
    await engine.dispose()
    found = [id for (id,) in ask(database_url, "SELECT id FROM amends.sagas ORDER BY id")]
    assert found == (["by-connection", "by-psycopg", "by-session"] if commit else [])


async def test_the_wrong_kind_of_connection_is_named(settings: Settings, database_url: str) -> None:
    with (
        psycopg.connect(database_url) as connection,
        pytest.raises(TypeError, match="Connection is for SyncClient"),
    ):
        await Client(settings).start(checkout, ORDER, id="x", connection=connection)  # type: ignore[arg-type]
    async with await psycopg.AsyncConnection.connect(database_url) as awaited:
        with pytest.raises(TypeError, match="AsyncConnection is for Client"):
            SyncClient(settings).start(checkout, ORDER, id="x", connection=awaited)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="no connection that the outbox can join"):
        SyncClient(settings).start(checkout, ORDER, id="x", connection=object())  # type: ignore[arg-type]


def test_a_refused_start_leaves_the_callers_transaction_as_it_was(settings: Settings, database_url: str) -> None:
    client = SyncClient(settings)
    client.start(checkout, ORDER, id="order-7")
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE mine (x int)")
        with pytest.raises(SagaIdTaken):
            client.start(checkout, Order(order_id="8"), id="order-7", connection=connection)
        connection.execute("INSERT INTO mine VALUES (1)")
    assert ask(database_url, "SELECT x FROM mine") == [(1,)]


def test_starts_of_one_id_at_once_make_one_saga(settings: Settings, database_url: str) -> None:
    async def race() -> list[Started]:
        async with Client(settings) as client:
            return await asyncio.gather(*(client.start(checkout, ORDER, id="order-7") for _ in range(8)))

    created = [started.created for started in asyncio.run(race())]
    assert sorted(created, key=bool) == [False] * 7 + [True]
    assert ask(database_url, "SELECT count(*) FROM amends.outbox") == [(1,)]


@pytest.mark.parametrize("id", ["", "x" * 201, "a\x00b", "a\nb", "\ud800", "\x7f"])
def test_ids_that_cant_travel_are_refused(settings: Settings, id: str) -> None:
    with pytest.raises(RequestError, match="a saga's id"):
        SyncClient(settings).start(checkout, ORDER, id=id)


@pytest.mark.parametrize("text", ["a\x00b", "\ud800", "x" * 600_000])
def test_inputs_that_cant_travel_are_refused(settings: Settings, text: str) -> None:
    with pytest.raises(PayloadError):
        SyncClient(settings).start(dispatch, text, id="x")


def test_an_input_of_another_type_is_refused_before_anything_is_written(settings: Settings) -> None:
    with pytest.raises(PayloadError, match="does not fit"):
        SyncClient(settings).start(dispatch, ORDER, id="x")


def test_a_database_without_tables_says_what_to_type(make_database: Callable[[], str], stack: Any) -> None:
    client = SyncClient(Settings(database_url=stack.database_url))
    with pytest.raises(DependencyError, match="amends migrate"):
        client.describe("order-7")
    client.__exit__(None, None, None)


def test_a_missing_database_is_said_at_once(stack: Any) -> None:
    url = stack.database_url.rpartition("/")[0] + "/not_there"
    with SyncClient(Settings(database_url=url)) as client, pytest.raises(DependencyError, match="does not exist"):
        client.cancel("order-7")


def test_an_unreachable_database_says_what_to_type() -> None:
    settings = Settings(database_url="postgresql://u:secret@127.0.0.1:9/x", client_connect_timeout_s=0.2)  # type: ignore[arg-type]
    with SyncClient(settings) as client, pytest.raises(DependencyError, match="amends doctor") as caught:
        client.cancel("order-7")
    assert "secret" not in str(caught.value)
