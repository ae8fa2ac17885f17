"""A process whose sagas all wait, and some thousands of them: `python -m tests.memory` is for a hundred thousand."""

from collections.abc import Iterator

import pytest

from tests.integration.engine import kit
from tests.memory.parked import RSS_MB_MAX, measure


@pytest.fixture
def system(database_url: str, kafka_bootstrap_servers: str, topic_prefix: str) -> Iterator[kit.System]:
    with kit.system(database_url, kafka_bootstrap_servers, topic_prefix) as made:
        yield made


@pytest.mark.slow
def test_five_thousand_stay_far_below_what_a_hundred_thousand_may_take(system: kit.System) -> None:
    figures = measure(system, 5_000)
    assert figures.peak_mb < RSS_MB_MAX / 2, figures
