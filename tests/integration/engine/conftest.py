from collections.abc import Iterator

import pytest

from tests.integration.engine import kit, program
from tests.integration.engine.program import ledger


@pytest.fixture
def system(database_url: str, kafka_bootstrap_servers: str, topic_prefix: str) -> Iterator[kit.System]:
    with kit.system(database_url, kafka_bootstrap_servers, topic_prefix) as made:
        yield made


@pytest.fixture
def books(system: kit.System) -> kit.System:
    """The ledger's tables, its participant and the relay."""
    for statement in program.TABLES.split(";"):
        if statement.strip():
            system.execute(statement)
    system.relay()
    system.participants([ledger])
    return system
