"""A Postgres of a test's own: with other settings, another clock, on a disk that is soon full."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from tests.deadlines import eventually

ROOT = Path(__file__).parents[2]


class OwnPostgres:
    """It is not restarted when it ends: `start` again."""

    def __init__(self, data: Path, options: tuple[str, ...], environment: Mapping[str, str]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        program = [sys.executable, "-m", "orchestrator.local.postgres", "--data", str(data), "--port", str(port)]
        self._command = [*program, "--fsync", "off", "--", *(part for one in options for part in ("-c", one))]
        self._environment = {**os.environ, **environment}
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def ended(self) -> bool:
        return self._server is None or self._server.poll() is not None

    def start(self) -> None:
        """Start it if it does not run, and wait until it answers."""

        def answers() -> bool:
            if self.ended:
                self._server = subprocess.Popen(self._command, cwd=ROOT, env=self._environment)
            with suppress(psycopg.OperationalError), psycopg.connect(self.url, connect_timeout=2):
                return True
            return False

        eventually(answers, 60, "Postgres answers")

    def stop(self) -> None:
        if self._server is not None and not self.ended:
            self._server.send_signal(signal.SIGINT)
            self._server.wait()


@contextmanager
def own_postgres(data: Path, *options: str, **environment: str) -> Iterator[OwnPostgres]:
    """`options` are settings, name=value."""
    postgres = OwnPostgres(data, options, environment)
    try:
        postgres.start()
        yield postgres
    finally:
        postgres.stop()
