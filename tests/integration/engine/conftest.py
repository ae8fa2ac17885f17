from collections.abc import Iterator

import pytest

from tests.integration.engine import kit


@pytest.fixture
def system(database_url: str, kafka_bootstrap_servers: str, topic_prefix: str) -> Iterator[kit.System]:
    with kit.system(database_url, kafka_bootstrap_servers, topic_prefix) as made:
        yield made
