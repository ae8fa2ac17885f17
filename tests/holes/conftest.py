"""Fixtures of the holes' tests: those of the rooms, on the level on which each scenario can be seen."""

from collections.abc import Callable, Iterator

import pytest

from orchestrator.local.stack import BlockingStack, Stack
from orchestrator.testing.pytest_plugin import sim
from tests.holes.shops import make_books
from tests.integration.engine import kit
from tests.integration.engine.conftest import books, system
from tests.integration.participant.conftest import gateway, make_gateway
from tests.integration.relay.outboxes import Place, install
from tests.rules.conftest import connection, engine_db, inbox, inbox_url
from tests.servers import create_database

__all__ = [
    "books", "connection", "engine_db", "gateway", "inbox", "inbox_url", "make_gateway", "sim", "system",
]  # fmt: skip


@pytest.fixture
def quiet_books(system: kit.System) -> kit.System:
    """The ledger's tables and the relay; its participant has not been started."""
    make_books(system)
    system.relay()
    return system


@pytest.fixture
def bare_books(own_stack: BlockingStack) -> Iterator[kit.System]:
    """The ledger's tables on servers of this test's own; nothing runs."""
    url = create_database(own_stack.stack.database_url)
    with kit.system(url, own_stack.stack.kafka_bootstrap_servers, "own.") as made:
        make_books(made)
        yield made


@pytest.fixture
def own_books(bare_books: kit.System) -> kit.System:
    """The same with a relay."""
    bare_books.relay()
    return bare_books


@pytest.fixture
def new_place(make_database: Callable[[], str]) -> Callable[[str, str], Place]:
    """A fresh outbox beside the Kafka that is named."""

    def make(kafka: str, prefix: str) -> Place:
        url = make_database()
        install(url)
        return Place(url, kafka, prefix)

    return make


@pytest.fixture
def place(new_place: Callable[[str, str], Place], stack: Stack, topic_prefix: str) -> Place:
    return new_place(stack.kafka_bootstrap_servers, topic_prefix)
