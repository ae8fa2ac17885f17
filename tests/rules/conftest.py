"""Fixtures of the rules' tests: the simulation, and where a rule needs them real servers.

A test that asks for servers is marked `servers` by itself, so that `-m "not servers"` runs the pure ones in seconds.
"""

from collections.abc import Iterator

import psycopg
import pytest

from orchestrator.local.stack import Stack
from orchestrator.migrations.migrate import migrate
from orchestrator.testing.pytest_plugin import sim
from tests import servers
from tests.integration.engine.conftest import books, system
from tests.integration.participant.bench import register
from tests.integration.participant.conftest import gateway, make_gateway
from tests.integration.participant.conftest import migrate as migrate_participant
from tests.integration.participant.desk import Desk

__all__ = ["books", "gateway", "make_gateway", "sim", "system"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "stack" in getattr(item, "fixturenames", ()):
            item.add_marker("servers")


def _migrate_engine(url: str) -> None:
    migrate(url, shards=4, topics=dict.fromkeys(("shipping.commands", "payments.commands", "stock.commands"), 4))


@pytest.fixture
def engine_db(stack: Stack) -> Iterator[str]:
    """An orchestrator's database; nobody is there yet, and Kafka is not asked."""
    template = servers.create_template(stack.database_url, "rules_engine", _migrate_engine)
    url = servers.create_database(stack.database_url, template)
    yield url
    servers.drop_databases(stack.database_url, servers.database_name(url))


@pytest.fixture
def connection(engine_db: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(engine_db, autocommit=True) as connection:
        yield connection


@pytest.fixture
def inbox_url(stack: Stack) -> Iterator[str]:
    """A participant's database, for messages that are handed over."""
    template = servers.create_template(stack.database_url, "rules_participant", migrate_participant)
    url = servers.create_database(stack.database_url, template)
    register(url)
    yield url
    servers.drop_databases(stack.database_url, servers.database_name(url))


@pytest.fixture
def inbox(inbox_url: str) -> Iterator[Desk]:
    desk = Desk(inbox_url, "", "", {})
    yield desk
    desk.close()
