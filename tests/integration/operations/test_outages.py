"""Readiness follows the servers: 503 with a reason while one of them is frozen, 200 when it goes on; health stays."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import psutil
import pytest

from orchestrator import SyncClient
from orchestrator.local.stack import BlockingStack
from tests.deadlines import deadline, eventually
from tests.integration.engine import kit
from tests.integration.operations.conftest import with_tables
from tests.integration.operations.watched import APP, Watched, amends
from tests.integration.operations.watched_app import booked
from tests.servers import create_database

pytestmark = [pytest.mark.serial, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def processes(own_stack: BlockingStack) -> Iterator[tuple[kit.System, dict[str, Watched]]]:
    """One of each, on servers of their own, all ready."""
    url = create_database(own_stack.stack.database_url)
    with kit.system(url, own_stack.stack.kafka_bootstrap_servers, "own.") as system, ExitStack() as stack:
        with_tables(system)
        roles = {"orchestrator": [f"{APP}:app"], "participant": [f"{APP}:app"], "relay": []}
        watched = {
            role: stack.enter_context(amends(system.settings, role, *arguments)) for role, arguments in roles.items()
        }
        for one in watched.values():
            one.until_ready()
        with SyncClient(system.settings) as client:
            client.run(booked, "till", id="before", timeout=deadline(60))
        yield system, watched


def signal_all(own_stack: BlockingStack, server: str, number: signal.Signals) -> None:
    """Its sessions too: those of Postgres are processes of their own."""
    first = psutil.Process(own_stack.server(server).pid)
    for process in (first, *first.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # one that was woken a moment ago may have ended
            process.send_signal(number)


@pytest.mark.parametrize("server", ["kafka", "postgres"])
def test_a_frozen_server_makes_all_that_need_it_not_ready(
    processes: tuple[kit.System, dict[str, Watched]], own_stack: BlockingStack, server: str
) -> None:
    system, watched = processes
    signal_all(own_stack, server, signal.SIGSTOP)
    try:
        for one in watched.values():
            one.until_not_ready({"kafka": "Kafka does not answer", "postgres": "Postgres does not answer"}[server])
            health = one.get("/health")
            assert health.status == 200, health.body  # a restart of ours would not mend it
            assert one.get("/metrics").status == 200
            assert one.value("amends_ready") == 0
    finally:
        signal_all(own_stack, server, signal.SIGCONT)
    for one in watched.values():
        one.until_ready()
    with SyncClient(system.settings) as client:
        client.run(booked, "till", id="after", timeout=deadline(60))


def test_servers_that_are_away_are_waited_for(
    processes: tuple[kit.System, dict[str, Watched]], own_stack: BlockingStack
) -> None:
    system, watched = processes
    for server in ("postgres", "kafka"):
        own_stack.stop_server(server)
        for one in watched.values():
            one.until_not_ready("does not answer")
            assert one.get("/health").status == 200
        own_stack.start_server(server)
        for one in watched.values():
            one.until_ready()
    with SyncClient(system.settings) as client:
        eventually(lambda: client.run(booked, "till", id="after", timeout=deadline(60)) == 10, 60, "they work again")
