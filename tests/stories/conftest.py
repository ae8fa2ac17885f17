"""A participant's database for the stories of the inbox, and a gateway that misbehaves."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import psycopg
import pytest

from orchestrator.local.stack import Stack
from orchestrator.migrations.migrate import migrate as migrate_all
from orchestrator.participant import Participant
from tests import servers
from tests.integration.participant.conftest import migrate
from tests.integration.participant.desk import Desk
from tests.integration.participant.gateway import Gateway
from tests.stories.steps import Steps

TOPICS = {"sagas": 4, "payments.commands": 2, "orders": 2}


@pytest.fixture
def inbox_url(stack: Stack) -> Iterator[str]:
    """A database with a participant's tables."""
    url = servers.create_database(stack.database_url, servers.create_template(stack.database_url, "stories", migrate))
    with psycopg.connect(url) as connection:
        for topic, partitions in TOPICS.items():
            connection.execute("INSERT INTO amends.topics (topic, partitions) VALUES (%s, %s)", (topic, partitions))
    yield url
    servers.drop_databases(stack.database_url, servers.database_name(url))


@pytest.fixture
def desk(inbox_url: str) -> Iterator[Desk]:
    """Who asks, and reads the answers in the participant's outbox."""
    desk = Desk(inbox_url, "", "", {})
    yield desk
    desk.close()


@pytest.fixture
def key(desk: Desk) -> str:
    return desk.new_key()


@pytest.fixture
def make_gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Gateway]]:
    made: list[Gateway] = []

    def make(**options: Any) -> Gateway:
        made.append(Gateway(**options))
        monkeypatch.setenv("GATEWAY_URL", made[-1].url)
        return made[-1]

    yield make
    for gateway in made:
        gateway.close()


@pytest.fixture
def by_steps(inbox_url: str) -> Callable[[Participant[Any]], AbstractAsyncContextManager[Steps]]:
    """Run a participant step by step: `async with by_steps(payments) as steps`."""

    @asynccontextmanager
    async def run(participant: Participant[Any]) -> AsyncIterator[Steps]:
        steps = Steps(participant, inbox_url)
        async with steps.open():
            yield steps

    return run


def migrate_engine(url: str) -> None:
    migrate_all(url, shards=2)


@pytest.fixture
def shards(stack: Stack) -> Iterator[psycopg.Connection[Any]]:
    """The orchestrator's tables with two shards that nobody owns."""
    template = servers.create_template(stack.database_url, "story-engine", migrate_engine)
    url = servers.create_database(stack.database_url, template)
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection
    servers.drop_databases(stack.database_url, servers.database_name(url))
