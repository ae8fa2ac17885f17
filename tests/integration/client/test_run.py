"""The composition root: real processes from the command line, and everything of an app in this process."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from orchestrator import App, Command, Participant, Saga, Transaction, saga
from orchestrator.cli import exits
from orchestrator.client import SyncClient
from orchestrator.messaging.kafka import ShardConsumer
from orchestrator.migrations import migrate
from orchestrator.settings import Settings
from outbox_relay import Row, outbox
from tests.deadlines import deadline, eventually, eventually_async
from tests.integration.client.fake_type import checkout
from tests.integration.client.sagas import Order

greeter = Participant("greeter-of-test-run")


class GreetOfTestRun(Command[str], service="greeter-of-test-run", undo=False):
    name: str


@greeter.handles(GreetOfTestRun)
async def greet(cmd: GreetOfTestRun, tx: Transaction) -> str:
    return f"Hello, {cmd.name}"


@saga
async def welcome(s: Saga, name: str) -> str:
    greeting = await s.call(GreetOfTestRun(name=name))
    await asyncio.sleep(0.1)
    return greeting + ", welcome back"


@pytest.fixture(scope="session")
def database_template() -> None:
    """Empty databases: what is run here migrates them."""
    return


@pytest.fixture
def settings(database_url: str, kafka_bootstrap_servers: str, topic_prefix: str) -> Settings:
    return Settings(
        database_url=database_url,  # type: ignore[arg-type]
        kafka_bootstrap_servers=kafka_bootstrap_servers,
        topic_prefix=topic_prefix,
    )


def ask(settings: Settings, sql: str) -> list[tuple]:
    with psycopg.connect(settings.database_url.get_secret_value(), autocommit=True) as connection:
        return connection.execute(sql.encode()).fetchall()


@contextmanager
def process(settings: Settings, *arguments: str, heard: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "AMENDS_TOPIC_PREFIX": settings.topic_prefix,
        "PYTHONPATH": str(Path(__file__).parents[3]),
    }
    running = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli", *arguments],
        env=environment,
        stderr=subprocess.PIPE if heard else None,
    )
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def test_the_relay_process_sends_a_start_and_ends_on_sigterm(settings: Settings) -> None:
    migrate(
        settings.database_url.get_secret_value(),
        parts=["engine"],
        shards=2,
        topic_prefix=settings.topic_prefix,
        kafka_bootstrap_servers=settings.kafka_bootstrap_servers,
    )
    with SyncClient(settings) as client:
        client.start(checkout, Order(order_id="7"), id="order-7")
    with process(settings, "relay") as relay:
        eventually(lambda: ask(settings, "SELECT 1 FROM amends.outbox") == [], 20, "the outbox is empty")
        consumer = ShardConsumer(settings.kafka_bootstrap_servers, "test")
        consumer.assign(f"{settings.topic_prefix}sagas", {0: 0, 1: 0})
        [envelope] = eventually(lambda: consumer.poll(10, 1.0), 20, "the start is in Kafka")
        consumer.close()
        assert (envelope.kind, envelope.saga_id) == ("start", "order-7")
        relay.send_signal(signal.SIGTERM)
        assert relay.wait(deadline(20)) == 0


def test_the_relay_is_switched_from_the_command_line_and_keeps_the_window_of_its_settings(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = settings.database_url.get_secret_value()
    migrate(url, parts=["outbox"], topic_prefix=settings.topic_prefix)
    for days in (2, 9):  # ended one and eight days ago
        day = datetime.now(UTC) - timedelta(days=days)
        ask_nothing(
            settings,
            f"CREATE TABLE amends.outbox_sent_{day:%Y%m%d} PARTITION OF amends.outbox_sent "
            f"FOR VALUES FROM ('{day:%Y-%m-%d} 00:00:00+00') TO ('{day + timedelta(days=1):%Y-%m-%d} 00:00:00+00')",
        )
    there = f"SELECT 1 FROM pg_class WHERE relname = 'outbox_sent_{datetime.now(UTC) - timedelta(days=2):%Y%m%d}'"
    gone = f"SELECT 1 FROM pg_class WHERE relname = 'outbox_sent_{datetime.now(UTC) - timedelta(days=9):%Y%m%d}'"
    monkeypatch.setenv("AMENDS_OUTBOX_SENT_KEPT_S", str(4 * 86_400))
    state = "SELECT state, health ->> 'wanted' FROM amends.relay_lease"
    with process(settings, "relay"):
        for mode, seen in (("polling", "polling"), ("cdc", "streaming"), ("polling", "polling")):
            with process(settings, "relay", "switch", mode, "--database", url) as switch:
                assert switch.wait(deadline(20)) == exits.OK
            eventually(lambda mode=mode, seen=seen: ask(settings, state) == [(seen, mode)], 30, f"it is {seen}")
        with process(settings, "relay", "status") as status:
            assert status.wait(deadline(20)) == exits.OK  # somebody lives
        eventually(lambda: ask(settings, gone) == [], 20, "beyond the window")
    assert ask(settings, there) == [(1,)]


def ask_nothing(settings: Settings, sql: str) -> None:
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        connection.execute(sql.encode())


def command_row(settings: Settings) -> Row:
    from orchestrator.messaging.outgoing import Request, command_row

    request = Request(
        topic=f"{settings.topic_prefix}greeter-of-test-run.commands",
        saga_id="order-7",
        operation_key="uid:0:1",
        attempt=1,
        type="GreetOfTestRun",
        reply_to=f"{settings.topic_prefix}sagas/0",
        nonce="n",
        expires_at="2099-01-01T00:00:00+00:00",
    )
    return command_row(request, {"name": "Ada"})


async def test_relay_and_participants_run_in_this_process(settings: Settings) -> None:
    async with App(participants=[greeter]).running(settings):
        url = settings.database_url.get_secret_value()
        async with await psycopg.AsyncConnection.connect(url) as connection:
            await outbox.add(connection, command_row(settings))

        async def done() -> bool:
            return await asyncio.to_thread(ask, settings, "SELECT state FROM amends.inbox") == [("done",)]

        await eventually_async(done, 30, "the command is handled")


async def test_an_error_in_the_block_comes_out_as_it_was_raised(settings: Settings) -> None:
    with pytest.raises(ZeroDivisionError):
        async with App(participants=[greeter]).running(settings):
            raise ZeroDivisionError


async def test_an_error_of_a_part_cancels_the_block_and_comes_out(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.participant.runner import Runner

    async def broken(self: Runner, stop: asyncio.Event) -> None:
        raise ZeroDivisionError("the participant")

    monkeypatch.setattr(Runner, "run", broken)
    with pytest.raises(ExceptionGroup) as caught:
        async with App(participants=[greeter]).running(settings):
            await asyncio.sleep(deadline(30))
    assert caught.value.split(ZeroDivisionError)[1] is None


async def test_hello(settings: Settings) -> None:
    """The README's thirty lines."""
    pytest.importorskip("orchestrator.engine.worker")
    async with App(sagas=[welcome], participants=[greeter]).running(settings) as client:
        said = await client.run(welcome, "Ada", id="welcome-ada", timeout=deadline(30))
        assert said == "Hello, Ada, welcome back"


async def test_hello_from_the_command_line(settings: Settings, make_database: Callable[[], str]) -> None:
    """`amends orchestrator`, `participant` and `relay` as processes of their own; the orchestrator is killed once."""
    pytest.importorskip("orchestrator.engine.worker")
    migrate(
        settings.database_url.get_secret_value(),
        topic_prefix=settings.topic_prefix,
        topics={f"{settings.topic_prefix}greeter-of-test-run.commands": 2},
        kafka_bootstrap_servers=settings.kafka_bootstrap_servers,
    )
    here = "tests.integration.client.test_run"
    with process(settings, "relay"), process(settings, "participant", f"{here}:greeter"):
        with SyncClient(settings) as client, process(settings, "orchestrator", f"{here}:welcome") as first:
            client.start(welcome, "Ada", id="welcome-ada")
            eventually(lambda: ask(settings, "SELECT 1 FROM amends.journal"), 30, "the first turn is stored")
            first.kill()
        with SyncClient(settings) as client, process(settings, "orchestrator", f"{here}:welcome") as second:
            assert client.result(welcome, "welcome-ada", timeout=deadline(60)) == "Hello, Ada, welcome back"
            second.send_signal(signal.SIGTERM)
            assert second.wait(deadline(30)) == 0


@pytest.mark.parametrize("role", [("orchestrator", "welcome"), ("participant", "greeter")], ids=lambda role: role[0])
def test_a_wrong_database_url_ends_the_process_with_what_to_do(settings: Settings, role: tuple[str, str]) -> None:
    """A server that is away is waited for; a name that it does not have never comes by waiting."""
    wrong = settings.database_url.get_secret_value() + "_no_such"
    command, name = role
    elsewhere = settings.model_copy(update={"database_url": SecretStr(wrong)})
    with process(elsewhere, command, f"tests.integration.client.test_run:{name}", heard=True) as running:
        said = running.communicate(timeout=deadline(30))[1].decode()
        assert running.returncode == exits.DEPENDENCY
    assert "_no_such" in said and "does not exist" in said and "Is DATABASE_URL right?" in said
