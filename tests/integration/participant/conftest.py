"""A participant's database, its topics, and whoever sends to it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

import orchestrator.participant
import outbox_relay
from orchestrator.local.stack import Stack
from orchestrator.messaging.kafka import Admin
from orchestrator.messaging.topics import Topics, ensure_topics, register_topics
from orchestrator.participant.runner import Runner
from tests import servers
from tests.integration.participant.desk import Desk
from tests.integration.participant.gateway import Gateway
from tests.integration.participant.shop import TABLES


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


@pytest.fixture(scope="session")
def database_template(stack: Stack) -> str:
    return servers.create_template(stack.database_url, "participant", migrate)


@pytest.fixture
def settings(database_url: str, kafka_bootstrap_servers: str, topic_prefix: str) -> Settings:
    topics = Topics(topic_prefix)
    needed = {
        topics.sagas: 1,
        topics.commands("stock"): 2,
        topics.commands("payments"): 2,
        topics.events("orders"): 2,
        topics.events("stock-events"): 1,
    }
    found = ensure_topics(Admin(kafka_bootstrap_servers), needed)
    with psycopg.connect(database_url) as connection:
        register_topics(connection, found)
    return Settings(database_url, kafka_bootstrap_servers, topic_prefix)


@pytest.fixture
def desk(settings: Settings) -> Iterator[Desk]:
    topics = Topics(settings.topic_prefix)
    partitions = {topics.commands("stock"): 2, topics.commands("payments"): 2, topics.events("orders"): 2}
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
    runner, stop = Runner(participant, settings), asyncio.Event()
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
