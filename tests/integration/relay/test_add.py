"""outbox.add on every kind of connection: the row is there if, and only if, the caller's transaction commits."""

import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg
import pytest
from psycopg.rows import dict_row
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from outbox_relay import Row, outbox
from outbox_relay.errors import RowRefused, RowTooLarge, TopicUnknown
from outbox_relay.rows import murmur2
from tests.integration.relay.outboxes import PARTITIONS, ROOT, Place


@pytest.fixture
def topic(place: Place) -> str:
    place.tell("orders")
    return "orders"


def sqlalchemy_url(place: Place) -> str:
    return make_url(place.url).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


@asynccontextmanager
async def psycopg_sync(place: Place) -> AsyncIterator[psycopg.Connection]:
    with psycopg.connect(place.url, row_factory=dict_row) as connection:
        yield connection


@asynccontextmanager
async def psycopg_async(place: Place) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(place.url, row_factory=dict_row) as connection:
        yield connection


@asynccontextmanager
async def session(place: Place) -> AsyncIterator[Session]:
    engine = create_engine(sqlalchemy_url(place))
    with Session(engine) as it:
        yield it
    engine.dispose()


@asynccontextmanager
async def connection(place: Place) -> AsyncIterator[object]:
    engine = create_engine(sqlalchemy_url(place))
    with engine.connect() as it:
        yield it
    engine.dispose()


@asynccontextmanager
async def async_session(place: Place) -> AsyncIterator[AsyncSession]:
    engine = create_async_engine(sqlalchemy_url(place))
    async with AsyncSession(engine) as it:
        yield it
    await engine.dispose()


@asynccontextmanager
async def async_connection(place: Place) -> AsyncIterator[object]:
    engine = create_async_engine(sqlalchemy_url(place))
    async with engine.connect() as it:
        yield it
    await engine.dispose()


async def done(result: object) -> object:
    return await result if hasattr(result, "__await__") else result


KINDS = [psycopg_sync, psycopg_async, session, connection, async_session, async_connection]


@pytest.mark.parametrize("opened", KINDS, ids=lambda kind: kind.__name__)
async def test_the_row_lives_and_dies_with_the_transaction(place: Place, topic: str, opened: Callable) -> None:
    row = Row(topic=topic, key="order-1", type="OrderPaid", payload=b"\x00", headers={"kind": "event", "attempt": "3"})
    async with opened(place) as open_one:
        await done(outbox.add(open_one, row))
        await done(open_one.rollback())
        assert place.count() == 0
        added = await done(outbox.add(open_one, row))
        assert isinstance(added, uuid.UUID)
        await done(open_one.commit())
    with place.connect() as c:
        found = c.execute(
            "SELECT id, aggregatetype, aggregateid, type, payload, partition, kind, attempt, saga_id FROM amends.outbox"
        ).fetchall()
    assert found == [(added, topic, "order-1", "OrderPaid", b"\x00", murmur2(b"order-1") % 4, "event", 3, None)]


@pytest.mark.parametrize("opened", KINDS, ids=lambda kind: kind.__name__)
async def test_a_refused_row_leaves_the_transaction_usable(place: Place, topic: str, opened: Callable) -> None:
    async with opened(place) as open_one:
        with pytest.raises(TopicUnknown, match=r"'nowhere' is not in amends.topics .* `amends migrate`"):
            await done(outbox.add(open_one, Row(topic="nowhere", key="k", type="T", payload=b"")))
        with pytest.raises(RowRefused, match=f"partition {PARTITIONS} of {PARTITIONS}"):
            await done(outbox.add(open_one, Row(topic=topic, key="k", type="T", payload=b"", partition=PARTITIONS)))
        await done(outbox.add(open_one, Row(topic=topic, key="k", type="T", payload=b"")))
        await done(open_one.commit())
    assert place.count() == 1


@dataclass
class Noted:
    """Any class with this one method can be added."""

    topic: str

    def __outbox__(self) -> Row:
        return Row(topic=self.topic, key="k", type="Noted", payload=b"1")


def test_any_publishable_can_be_added(place: Place, topic: str) -> None:
    with place.connect() as connection:
        outbox.add(connection, Noted(topic))
        assert connection.execute("SELECT type FROM amends.outbox").fetchall() == [("Noted",)]


def test_what_could_never_be_delivered_is_refused_before_a_statement_runs(place: Place, topic: str) -> None:
    with place.connect() as connection:
        with pytest.raises(RowTooLarge, match="900,000"):
            outbox.add(connection, Row(topic=topic, key="k", type="T", payload=b"x" * 900_000))
        with pytest.raises(RowRefused, match="'colour'"):
            outbox.add(connection, Row(topic=topic, key="k", type="T", payload=b"", headers={"colour": "red"}))
        with pytest.raises(RowRefused, match="NUL"):
            outbox.add(connection, Row(topic=topic, key="k\0", type="T", payload=b""))
        with pytest.raises(TypeError, match=r"builtins\.str is no connection"):
            outbox.add("postgresql://", Row(topic=topic, key="k", type="T", payload=b""))
    assert place.count() == 0


def test_adding_loads_neither_sqlalchemy_nor_the_kafka_client() -> None:
    program = (
        "import sys, outbox_relay, outbox_relay.table\n"
        "assert not {'sqlalchemy', 'confluent_kafka', 'orchestrator'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, env={"PYTHONPATH": str(ROOT)})
