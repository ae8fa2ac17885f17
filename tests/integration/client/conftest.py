"""Databases with the orchestrator's tables, made by our own migrations; no worker runs on them."""

import pytest

from orchestrator.local.stack import Stack
from orchestrator.migrations import migrate
from orchestrator.settings import Settings
from tests import roles
from tests.roles import as_role
from tests.servers import create_template


@pytest.fixture(scope="session")
def database_template(stack: Stack) -> str:
    """Engine and outbox, with four shards."""
    return create_template(stack.database_url, "client", _build)


def _build(url: str) -> None:
    migrate(url, parts=["engine"], shards=4)
    roles.grant(url)


@pytest.fixture
def settings(database_url: str) -> Settings:
    """Of a client: it needs no Kafka, and has the rights of a client."""
    url = as_role(database_url, "client")
    return Settings(database_url=url)  # type: ignore[arg-type]  # pydantic makes it a SecretStr
