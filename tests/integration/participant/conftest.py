"""A participant's database, its topics, and whoever sends to it."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest

import orchestrator.participant
import outbox_relay
from orchestrator.local.stack import Stack
from orchestrator.messaging.kafka_admin import Admin
from orchestrator.messaging.topics import Topics, ensure_topics, register_topics
from orchestrator.participant.runner import Runner
from tests import roles, servers
from tests.integration.participant.bench import register
from tests.integration.participant.desk import Desk
from tests.integration.participant.gateway import Gateway
from tests.integration.participant.shop import TABLES
from tests.roles import as_role


@dataclass(frozen=True)
class Settings:
    database_url: str
    kafka_bootstrap_servers: str
    topic_prefix: str


def migrate(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for package in (outbox_relay, orchestrator.participant):
            for file in sorted((Path(package.__file__).parent / "sql").glob("*.sql")):
                connection.execute(file.read_text())
        connection.execute(TABLES)
    roles.grant(url)


@pytest.fixture(scope="session")
def database_template(stack: Stack) -> str:
    return servers.create_template(stack.database_url, "participant", migrate)


def make_topics(settings: Settings) -> None:
    topics = Topics(settings.topic_prefix)
    needed = {
        topics.sagas: 1,
        topics.commands("stock"): 2,
        topics.commands("payments"): 8,
        topics.events("orders"): 2,
        topics.events("stock-events"): 1,
    }
    found = ensure_topics(Admin(settings.kafka_bootstrap_servers), needed)
    with psycopg.connect(settings.database_url) as connection:
        register_topics(connection, found)


@pytest.fixture
def settings(database_url: str, kafka_bootstrap_servers: str, topic_prefix: str) -> Settings:
    settings = Settings(database_url, kafka_bootstrap_servers, topic_prefix)
    make_topics(settings)
    return settings


@pytest.fixture
def desk(settings: Settings) -> Iterator[Desk]:
    topics = Topics(settings.topic_prefix)
    partitions = {topics.commands("stock"): 2, topics.commands("payments"): 8, topics.events("orders"): 2}
    desk = Desk(settings.database_url, settings.kafka_bootstrap_servers, settings.topic_prefix, partitions)
    yield desk
    desk.close()


@pytest.fixture
def make_gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Gateway]]:
    made: list[Gateway] = []

    def make(**options) -> Gateway:
        made.append(Gateway(**options))
        monkeypatch.setenv("GATEWAY_URL", made[-1].url)
        return made[-1]

    yield make
    for gateway in made:
        gateway.close()


@pytest.fixture
def gateway(make_gateway) -> Gateway:
    return make_gateway()


@asynccontextmanager
async def running(participant, settings: Settings):
    """A participant in this process."""
    used = replace(settings, database_url=as_role(settings.database_url, "participant"))
    runner, stop = Runner(participant, used), asyncio.Event()
    task = asyncio.create_task(runner.run(stop))
    started = asyncio.create_task(runner.started.wait())
    await asyncio.wait([task, started], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    try:
        yield runner
    finally:
        stop.set()
        await task


async def aside(function, *args, **options):
    """A blocking wait that leaves the loop to the participant."""
    return await asyncio.to_thread(function, *args, **options)


@pytest.fixture
def inbox_url(database_url: str) -> str:
    """A participant's database for tests without Kafka."""
    register(database_url)
    return database_url


@pytest.fixture
def inbox(inbox_url: str) -> Iterator[Desk]:
    desk = Desk(inbox_url, "", "", {})
    yield desk
    desk.close()


class Processes:
    """Participants as processes; what they log is shown when the test fails."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self.settings, self.log = settings, log
        self.all: list[subprocess.Popen] = []

    def start(self, name: str, failpoints: str = "", **options) -> subprocess.Popen:
        """`failpoints` as in orchestrator/failpoints.py; the places that were reached stand in `reached`."""
        env = {
            **os.environ,
            **({"AMENDS_FAILPOINTS": failpoints, "AMENDS_FAILPOINTS_LOG": str(self.log)} if failpoints else {}),
            "DATABASE_URL": as_role(self.settings.database_url, "participant"),
            "KAFKA_BOOTSTRAP_SERVERS": self.settings.kafka_bootstrap_servers,
            "AMENDS_TOPIC_PREFIX": self.settings.topic_prefix,
        }
        command = [sys.executable, "-m", "tests.integration.participant.process_main", name, json.dumps(options)]
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
        self.all.append(process)
        return process

    @property
    def reached(self) -> set[str]:
        return set(self.log.read_text().split()) if self.log.exists() else set()

    def ready(self, *processes: subprocess.Popen) -> None:
        for process in processes:
            assert process.stdout.readline() == "ready\n", f"participant {process.pid} did not start"

    def started(self, name: str, n: int = 1, failpoints: str = "", **options) -> list[subprocess.Popen]:
        processes = [self.start(name, failpoints, **options) for _ in range(n)]
        self.ready(*processes)
        return processes

    def end(self) -> None:
        for process in self.all:
            process.kill()
            process.wait()
            process.stdout.close()


@pytest.fixture
def processes(settings: Settings, tmp_path: Path) -> Iterator[Processes]:
    processes = Processes(settings, tmp_path / "failpoints.log")
    yield processes
    processes.end()
