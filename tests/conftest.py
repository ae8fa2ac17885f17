"""Fixtures of all tests: the run's servers, and for each test a database and a prefix for its topics.

    def test_something(database_url: str, kafka_bootstrap_servers: str, topic_prefix: str) -> None: ...

A folder of tests that needs tables overrides `database_template`:

    @pytest.fixture(scope="session")
    def database_template(stack: Stack) -> str:
        return create_template(stack.database_url, "engine", migrate)
"""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from orchestrator.local.stack import BlockingStack, Stack, running_stack
from tests import servers

# Every run tries the same examples, so that nobody is stopped by what another broke; `make check` then tries others
# by a seed that it prints. How long it takes says something of the machine only.
UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fixed", UNTIMED, derandomize=True)
settings.register_profile("random", UNTIMED, derandomize=False, print_blob=True, database=None)
settings.load_profile("fixed")


def pytest_configure(config: pytest.Config) -> None:
    """Begin the run, unless this process is a worker of pytest-xdist."""
    if not hasattr(config, "workerinput"):
        servers.begin_run()


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the run: comes last in its first process, also after a failure or Ctrl-C."""
    if not hasattr(config, "workerinput"):
        servers.end_run()


@pytest.fixture(scope="session")
def stack() -> Stack:
    """The run's Postgres and Kafka, shared by all workers."""
    return servers.shared_stack()


@pytest.fixture(scope="session")
def kafka_bootstrap_servers(stack: Stack) -> str:
    """The run's Kafka."""
    return stack.kafka_bootstrap_servers


@pytest.fixture(scope="session")
def database_template() -> str | None:
    """Return the database that each test's database is a copy of; None for an empty one. To be overridden."""
    return None


@pytest.fixture
def make_database(stack: Stack, database_template: str | None) -> Iterator[Callable[[], str]]:
    """Create databases for this test, each a copy of the template; all are dropped at its end, with their slots."""
    urls: list[str] = []

    def make() -> str:
        urls.append(servers.create_database(stack.database_url, database_template))
        return urls[-1]

    yield make
    for url in urls:
        servers.drop_databases(stack.database_url, servers.database_name(url))


@pytest.fixture
def database_url(make_database: Callable[[], str]) -> str:
    """A fresh database for this test."""
    return make_database()


@pytest.fixture
def topic_prefix(stack: Stack) -> Iterator[str]:
    """Begin the names of this test's topics (and groups) with it; the topics are deleted at the end."""
    prefix = f"t.{servers.run_name()}.{secrets.token_hex(4)}."
    yield prefix
    servers.delete_topics(stack.kafka_bootstrap_servers, prefix)


@pytest.fixture
def own_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BlockingStack]:
    """Servers of this test's own, to restart, freeze or wipe. Mark such a test `serial`."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    with running_stack(tmp_path / "var") as blocking:
        yield blocking
