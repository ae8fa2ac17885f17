from collections.abc import Iterator

import pytest

from tests.integration.engine import kit, program
from tests.integration.operations import watched_app


def with_tables(system: kit.System) -> kit.System:
    for statement in program.TABLES.split(";"):
        if statement.strip():
            system.execute(statement)
    return system


@pytest.fixture
def system(database_url: str, kafka_bootstrap_servers: str, topic_prefix: str) -> Iterator[kit.System]:
    """Migrated, with the tables of the ledger; nothing runs yet."""
    assert watched_app.app.sagas, "its messages need topics"
    with kit.system(database_url, kafka_bootstrap_servers, topic_prefix) as made:
        yield with_tables(made)
