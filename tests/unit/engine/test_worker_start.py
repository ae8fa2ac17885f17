"""An orchestrator that starts while Postgres restarts waits for it, as one that runs already does."""

import logging
import socket
import threading

import pytest

from orchestrator.core.registry import Registry
from orchestrator.engine.worker import Worker
from orchestrator.settings import Settings
from tests.deadlines import deadline, eventually


def test_a_database_that_is_away_is_waited_for_until_the_stop(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as nobody:  # bound and not listening: every connection is refused
        nobody.bind(("127.0.0.1", 0))
        url = f"postgresql://postgres@127.0.0.1:{nobody.getsockname()[1]}/postgres"
        settings = Settings(database_url=url, kafka_bootstrap_servers="127.0.0.1:1")  # type: ignore[arg-type]
        errors: list[BaseException] = []
        stop = threading.Event()

        def run() -> None:
            try:
                Worker(settings, Registry([])).run(stop)
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=run, daemon=True)
        with caplog.at_level(logging.WARNING):
            thread.start()
            eventually(lambda: errors or caplog.text.count("no database") >= 2, 20, "it has tried again")
        stop.set()
        thread.join(deadline(20))
    assert not thread.is_alive()
    assert errors == []
