"""Databases with the orchestrator's tables; what a worker would have committed is inserted by SQL."""

from collections.abc import Iterator

import pytest

from orchestrator.local.stack import Stack
from orchestrator.migrations import migrate
from tests.integration.tracing.collector import Collector, running_collector
from tests.servers import create_template

SHARDS = 4


@pytest.fixture(scope="session")
def database_template(stack: Stack) -> str:
    """Engine and outbox, with four shards."""
    return create_template(stack.database_url, "tracing", lambda url: migrate(url, parts=["engine"], shards=SHARDS))


@pytest.fixture
def collecting() -> Iterator[tuple[Collector, str]]:
    """A collector and its endpoint."""
    with running_collector() as both:
        yield both
