"""Sessions and servers come and go; the participant goes on by itself, and nothing is done twice."""

import time

import psycopg
import pytest

from tests.deadlines import eventually
from tests.integration.participant.conftest import Processes, Settings, make_topics, migrate
from tests.integration.participant.desk import Desk
from tests.integration.participant.shop import ChargeCard, ReserveStock

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
