"""A client hears that a saga has ended; and finds out by itself when nobody tells it."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from orchestrator import announcement
from orchestrator.client import Client, SyncClient, hearing
from orchestrator.client.hearing import APPLICATION_NAME, Hearing
from orchestrator.settings import Settings
from tests.deadlines import deadline, eventually
from tests.integration.client.fake_type import checkout
from tests.integration.client.sagas import Order, Receipt, ended

ORDER = Order(order_id="7")
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s"
END_SESSIONS = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = %s
"""


def asked(url: str, sql: str, *params: object) -> Any:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(sql.encode(), params).fetchone()
    assert row is not None
    return row[0]


def announce(url: str, saga_id: str) -> None:
    """As an orchestrator does after the commit."""
    with psycopg.connect(url, autocommit=True) as connection:
        for payload in announcement.payloads([saga_id]):
            connection.execute(announcement.NOTIFY, (payload,))


def waiting_for(client: SyncClient, found: list[Receipt]) -> threading.Thread:
    """Without a timeout: who waits looks once more at its end, whether he was told or not."""
    thread = threading.Thread(target=lambda: found.append(client.result(checkout, "order-7")), daemon=True)
    thread.start()
    return thread


@pytest.fixture
def never_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who hears does not look by himself for longer than a test may take."""
    monkeypatch.setattr(hearing, "LOOK_S", 1_000.0)


@pytest.fixture
def told(database_url: str) -> Iterator[Hearing]:
    """One that hears."""
    found = Hearing(database_url)
    found.begin()
    eventually(lambda: found.session > 0, 10, "it hears itself")
    yield found
    found.close()


@pytest.mark.usefixtures("never_looks")
async def test_an_end_is_heard(settings: Settings, database_url: str) -> None:
    async with Client(settings) as client:
        await client.start(checkout, ORDER, id="order-7")
        waiting = asyncio.create_task(client.result(checkout, "order-7"))
        await asyncio.to_thread(eventually, lambda: client._heard().session > 0, 10, "it hears")
        await asyncio.to_thread(ended, database_url, "order-7", "completed", result={"order_id": "7"})
        await asyncio.to_thread(announce, database_url, "order-7")
        async with asyncio.timeout(deadline(20)):
            assert await waiting == Receipt(order_id="7")
    eventually(lambda: asked(database_url, SESSIONS, APPLICATION_NAME) == 0, 10, "its session was given back")


@pytest.mark.usefixtures("never_looks")
def test_an_end_is_heard_without_await(settings: Settings, database_url: str) -> None:
    found: list[Receipt] = []
    with SyncClient(settings) as client:
        client.start(checkout, ORDER, id="order-7")
        thread = waiting_for(client, found)
        eventually(lambda: client._heard().session > 0, 10, "it hears")
        ended(database_url, "order-7", "completed", result={"order_id": "7"})
        announce(database_url, "order-7")
        thread.join(deadline(20))
    assert found == [Receipt(order_id="7")]


def test_who_hears_looks_all_the_same(settings: Settings, database_url: str) -> None:
    """The orchestrator may have died between its commit and the announcement."""
    found: list[Receipt] = []
    with SyncClient(settings) as client:
        client.start(checkout, ORDER, id="order-7")
        thread = waiting_for(client, found)
        eventually(lambda: client._heard().session > 0, 10, "it hears")
        ended(database_url, "order-7", "completed", result={"order_id": "7"})
        thread.join(deadline(20))
    assert found == [Receipt(order_id="7")]


@pytest.mark.usefixtures("never_looks")
def test_who_hears_no_more_looks_again_soon(settings: Settings, database_url: str) -> None:
    found: list[Receipt] = []
    with SyncClient(settings) as client:
        client.start(checkout, ORDER, id="order-7")
        thread = waiting_for(client, found)
        eventually(lambda: client._heard().session > 0, 10, "it hears")
        ended(database_url, "order-7", "completed", result={"order_id": "7"})
        assert asked(database_url, END_SESSIONS, APPLICATION_NAME) == 1
        thread.join(deadline(20))
    assert found == [Receipt(order_id="7")]


def test_what_ends_between_a_look_and_the_first_hearing_is_looked_for_once_more(told: Hearing) -> None:
    with told.waiter("order-7", lambda: None) as waiter:
        assert waiter.pause_s(0.003) == 0.0  # its look, if any, was before we heard
        waiter.look()
        assert waiter.pause_s(0.003) == hearing.LOOK_S


def test_who_does_not_hear_himself_is_not_told_to_rely_on_it(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pooler that gives each transaction another session takes a LISTEN, and nothing ever comes."""
    monkeypatch.setattr(announcement, "NOTIFY", "SELECT %s::text")
    found = Hearing(database_url)
    with found.waiter("order-7", lambda: None) as waiter:
        waiter.look()
        assert waiter.pause_s(0.003) == 0.003
        eventually(lambda: asked(database_url, SESSIONS, APPLICATION_NAME) == 1, 10, "it listens")
        assert waiter.pause_s(0.003) == 0.003
    found.close()


def test_nobody_is_rung_for_the_end_of_another_saga(told: Hearing, database_url: str) -> None:
    rung: list[str] = []
    with (
        told.waiter("order-7", lambda: rung.append("order-7")),
        told.waiter("order-8", lambda: rung.append("order-8")),
        told.waiter("order-8", lambda: rung.append("order-8 again")),
    ):
        announce(database_url, "order-8")
        eventually(lambda: len(rung) == 2, 10, "both are rung")
        announce(database_url, "order-9")
        announce(database_url, "order-7")
        eventually(lambda: len(rung) == 3, 10, "the last one")
    assert sorted(rung) == ["order-7", "order-8", "order-8 again"]


async def test_a_client_that_never_waits_never_listens(settings: Settings, database_url: str) -> None:
    async with Client(settings) as client:
        await client.start(checkout, ORDER, id="order-7")
        await client.get("order-7", "progress", str)
        ended(database_url, "order-7", "completed", result={"order_id": "7"})
        assert await client.result(checkout, "order-7") == Receipt(order_id="7")
        assert asked(database_url, SESSIONS, APPLICATION_NAME) == 0
