"""Health, readiness and the listener itself: bounded, on a thread of its own, never in the way of the work."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from pydantic import SecretStr

from orchestrator import App, SyncClient
from orchestrator.cli import exits
from orchestrator.monitoring import listener
from orchestrator.monitoring.listener import Listener, text_answer
from orchestrator.monitoring.monitor import Monitor
from orchestrator.settings import Settings
from tests.deadlines import deadline, eventually
from tests.integration.engine.kit import System
from tests.integration.operations import watched_app
from tests.integration.operations.watched import APP, Watched, amends, free_port
from tests.integration.operations.watched_app import app, booked, dawdling, nudged


def with_port(system: System) -> Settings:
    """Of one process that is everything, as the administrator who may be everybody."""
    return system.settings.model_copy(update={"database_url": SecretStr(system.url), "metrics_port": free_port()})


@pytest.fixture
def bare() -> Iterator[Watched]:
    """A listener with one page and nothing behind it."""
    made = Listener("127.0.0.1", free_port(), {"/page": lambda accept: text_answer(200, accept)}, lambda: None)
    made.start()
    yield Watched(made.port)
    made.stop()


def test_requests_are_judged_before_anything_is_done(bare: Watched) -> None:
    assert (bare.get("/page", Accept="text/plain").status, bare.get("/page?x=1").status) == (200, 200)
    assert bare.get("/page", Accept="text/plain").body == b"text/plain\n"
    assert bare.get("/nothing").status == 404
    refused = bare.get("/page", method="POST")
    assert (refused.status, refused.headers["allow"]) == (405, "GET")
    assert bare.get("/page", Cookie="x" * 100_000).status == 431
    assert bare.get(f"/{'x' * 100_000}").status == 431
    assert raw(bare, b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert raw(bare, b"GET /page SPDY/3\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def raw(bare: Watched, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", bare.port), timeout=deadline(10)) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(1024), b""))


def test_slow_clients_are_cut_off_and_keep_nobody_out_for_long(bare: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "REQUEST_S", 1.0)
    slow = [socket.create_connection(("127.0.0.1", bare.port)) for _ in range(listener.REQUESTS_MAX)]
    for one in slow:
        one.sendall(b"GET /page HT")
    eventually(lambda: bare.get("/page").status == 503, 10, "one more is turned away")
    for one in slow:
        one.settimeout(deadline(10))
        assert one.recv(1) == b""  # closed, without a word
        one.close()
    eventually(lambda: bare.get("/page").status == 200, 10, "there is room again")


def test_a_page_that_fails_says_so_and_the_next_one_comes(caplog: pytest.LogCaptureFixture) -> None:
    def fails(_accept: str) -> listener.Answer:
        raise ZeroDivisionError

    made = Listener("127.0.0.1", free_port(), {"/fails": fails}, lambda: None)
    made.start()
    try:
        assert [Watched(made.port).get("/fails").status for _ in range(2)] == [500, 500]
    finally:
        made.stop()
    assert "ZeroDivisionError" in caplog.text


def test_a_port_that_is_taken_ends_the_process_with_what_to_do(system: System) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with amends(system.settings, "relay", AMENDS_METRICS_PORT=port) as relay:
            assert relay.process is not None
            assert relay.process.wait(deadline(30)) == exits.DEPENDENCY


def test_without_a_port_nothing_is_loaded_for_it() -> None:
    program = (
        "import sys; import orchestrator.run; from orchestrator.monitoring.monitor import Monitor\n"
        "from orchestrator.settings import Settings\n"
        "with Monitor(Settings(database_url='postgresql://h/d')): pass\n"
        "sys.exit('prometheus_client' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_openmetrics_comes_to_who_asks_for_it(system: System) -> None:
    with amends(system.settings, "orchestrator", f"{APP}:app") as orchestrator:
        orchestrator.until_ready()
        plain = orchestrator.get("/metrics")
        assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2"
        answer = orchestrator.get("/metrics", Accept=accept)
        assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        assert answer.body.endswith(b"# EOF\n")
        names = {family.name for family in text_string_to_metric_families(answer.body.decode())}
        assert {"amends_batches", "amends_commit_duration_seconds", "amends_ready"} <= names


def test_a_long_turn_does_not_keep_the_listener_from_answering(system: System) -> None:
    system.relay()
    system.orchestrator([dawdling])
    settings = with_port(system)
    with Monitor(settings) as monitor, SyncClient(system.settings) as client:
        watched = Watched(settings.metrics_port)
        monitor.watch_worker(system.workers[0])
        watched.until_ready()
        client.start(dawdling, "", id="d")
        assert watched_app.INSIDE.wait(deadline(30))
        answers = [watched.get(path).status for path in ("/health", "/ready", "/metrics")]
        was_inside = not watched_app.OUTSIDE.is_set()
        watched_app.GATE.set()
        assert answers == [200, 200, 200]
        assert was_inside, "the turn ended before the answers came"
    assert watched_app.OUTSIDE.wait(deadline(30))


def test_nothing_is_ready_before_it_has_begun_and_while_it_is_being_stopped(system: System) -> None:
    with Monitor(with_port(system)) as monitor:
        watched = Watched(monitor._settings.metrics_port)
        assert watched.get("/ready").status == 503
        assert watched.get("/health").json == {"status": "ok", "reasons": {}}
        system.relay()
        stop = system.orchestrator([nudged], name="one")
        monitor.watch_worker(system.workers[0])
        watched.until_ready()
        stop()
        assert "it is being stopped" in watched.get("/ready").json["reasons"]["orchestrator one"]
        assert watched.get("/health").status == 200


def test_a_thread_that_has_died_is_broken_for_good(system: System) -> None:
    with Monitor(with_port(system)) as monitor:
        watched = Watched(monitor._settings.metrics_port)
        system.orchestrator([nudged], name="one")
        monitor.watch_worker(system.workers[0])
        watched.until_ready()
        system.workers[0]._ends_watch.stop()
        answer = watched.get("/health")
        assert (answer.status, answer.json["reasons"]) == (
            503,
            {"orchestrator one": ["its thread amends-ends has ended"]},
        )


async def test_all_of_an_app_in_one_process_shows_each_part(system: System) -> None:
    settings = with_port(system)
    watched = Watched(settings.metrics_port)
    all_of_it = App(sagas=app.sagas, participants=app.participants)
    async with all_of_it.running(settings) as client:
        assert await client.run(booked, "till", id="b", timeout=deadline(60)) == 10

        def look() -> None:
            watched.until_ready()
            watched.until("amends_sagas_ended_total", 1, outcome="completed")
            watched.until("amends_commands_answered_total", 1, participant="ledger", result="succeeded")
            watched.until("amends_ready", 1)
            database = system.url.rpartition("/")[2]
            watched.until("amends_relay_state", 1, database=database, state="streaming")
            watched.until("amends_outbox_rows", 0, database=database)
            assert watched.get("/metrics").body.decode().count("\namends_outbox_rows{") == 1

        await asyncio.to_thread(look)
    assert watched.status("/ready") == 0
