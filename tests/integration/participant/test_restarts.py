"""Sessions and servers come and go; the participant goes on by itself, and nothing is done twice."""

import asyncio
import socket
import time
from dataclasses import replace

import psycopg
import pytest

from orchestrator.messaging import kafka_admin
from orchestrator.participant.runner import Runner
from services.chaos.proxy import HOST, Link
from tests.deadlines import deadline, eventually, eventually_async
from tests.integration.participant.conftest import Processes, Settings, aside, make_topics, migrate
from tests.integration.participant.desk import Desk
from tests.integration.participant.shop import ChargeCard, ReserveStock, stock

ORDERS = 300
END_SESSIONS = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'amends stock%'
"""


def test_ended_sessions_cost_nothing(settings, desk, processes):
    processes.started("stock")
    keys = [desk.new_key() for _ in range(ORDERS)]
    for i, key in enumerate(keys):
        desk.command(key, ReserveStock(order_id=key))
        if i % 60 == 30:
            eventually(lambda: desk.one(END_SESSIONS), 10, "there are sessions to end")
    eventually(lambda: len({a.key for a in desk.answers(kind="reply")}) == ORDERS, 60, "all are answered")
    assert {a.outcome for a in desk.answers(kind="reply")} == {"succeeded"}
    assert desk.one("SELECT available FROM stock WHERE item = 'book'") == 1000 - ORDERS


@pytest.fixture
def late_kafka(settings):
    """A way to Kafka that nobody has opened yet."""
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    return Link("participant - kafka", port, int(settings.kafka_bootstrap_servers.rpartition(":")[2]))


async def test_a_kafka_that_is_away_at_the_start_is_waited_for(settings, desk, late_kafka, monkeypatch, caplog):
    """It ended the process, where a Postgres that was away did not."""
    monkeypatch.setattr(kafka_admin, "CALL_TIMEOUT_S", 0.5)
    stop, key = asyncio.Event(), desk.new_key()
    runner = Runner(stock, replace(settings, kafka_bootstrap_servers=f"{HOST}:{late_kafka.port}"))
    task = asyncio.create_task(runner.run(stop))

    async def asked_twice():
        return task.done() or caplog.text.count("no broker answers") >= 2

    await eventually_async(asked_twice, 20, "it asks again and again")
    assert not task.done()
    assert not runner.started.is_set()
    monkeypatch.undo()
    await late_kafka.open()
    try:
        await asyncio.wait_for(runner.started.wait(), deadline(20))
        desk.command(key, ReserveStock(order_id=key))
        assert (await aside(desk.answer, key)).outcome == "succeeded"
    finally:
        stop.set()
        await task
        await late_kafka.close()


async def test_a_wait_for_kafka_can_be_stopped(settings, late_kafka, monkeypatch):
    monkeypatch.setattr(kafka_admin, "CALL_TIMEOUT_S", 0.5)
    stop = asyncio.Event()
    runner = Runner(stock, replace(settings, kafka_bootstrap_servers=f"{HOST}:{late_kafka.port}"))
    task = asyncio.create_task(runner.run(stop))
    await asyncio.sleep(0)
    stop.set()
    await asyncio.wait_for(task, deadline(10))
    assert not runner.started.is_set()


@pytest.mark.serial
@pytest.mark.slow
def test_servers_restart_under_a_participant(own_stack, make_gateway, tmp_path):
    url, kafka = own_stack.stack.database_url, own_stack.stack.kafka_bootstrap_servers
    migrate(url)
    settings = Settings(url, kafka, "")
    make_topics(settings)
    gateway = make_gateway()
    desk = Desk(url, kafka, "", {"stock.commands": 2, "payments.commands": 8})
    processes = Processes(settings, tmp_path / "failpoints.log")
    try:
        processes.started("stock")
        processes.started("payments", timeout_s=5)
        for server in ("postgres", "kafka", "postgres"):
            key, charge = desk.new_key(), desk.new_key()
            desk.command(key, ReserveStock(order_id=key))
            desk.command(charge, ChargeCard(order_id=charge))
            assert desk.answer(charge, seconds=60).outcome == "succeeded"
            assert desk.answer(key, seconds=60).outcome == "succeeded"
            own_stack.stop_server(server)
            time.sleep(2.0)  # the outage
            own_stack.start_server(server)
            if server == "postgres":
                desk.connection = psycopg.connect(url, autocommit=True)
        key = desk.new_key()
        desk.command(key, ReserveStock(order_id=key))
        assert desk.answer(key, seconds=60).outcome == "succeeded"
        assert gateway.net() == 3
        assert all(process.poll() is None for process in processes.all)
    finally:
        processes.end()
        desk.close()
