"""A directory and a database like those of somebody who begins."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.shell import Shell


@pytest.fixture
def shell(tmp_path: Path, database_url: str, kafka_bootstrap_servers: str, topic_prefix: str) -> Iterator[Shell]:
    """Nothing is there but servers; what is left running is killed."""
    import signal

    opened = Shell(tmp_path, database_url, kafka_bootstrap_servers, topic_prefix)
    yield opened
    opened.end_dev(signal.SIGKILL)
