"""A database with an outbox for each test, beside the run's Kafka."""

from collections.abc import Callable

import pytest

from orchestrator.local.stack import Stack
from tests.integration.relay.outboxes import Place, install
from tests.servers import create_template


@pytest.fixture(scope="session")
def database_template(stack: Stack) -> str:
    return create_template(stack.database_url, "outbox", install)


@pytest.fixture
def make_place(make_database: Callable[[], str], stack: Stack, topic_prefix: str) -> Callable[[], Place]:
    return lambda: Place(make_database(), stack.kafka_bootstrap_servers, topic_prefix)


@pytest.fixture
def place(make_place: Callable[[], Place]) -> Place:
    return make_place()
