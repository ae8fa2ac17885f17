"""Processes of Amends that are watched: `amends orchestrator` and the like, with a port to ask."""

import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from orchestrator.settings import Settings
from tests.deadlines import deadline, eventually
from tests.roles import Login, as_role

APP = "tests.integration.operations.watched_app"
ROLES: dict[str, Login] = {"orchestrator": "worker", "participant": "participant", "relay": "relay"}
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Watched:
    """What listens on a port. `process` is None if it is this one."""

    port: int
    process: subprocess.Popen[bytes] | None = None

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=deadline(10))
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def status(self, path: str) -> int:
        """0: nobody listens (yet)."""
        try:
            return self.get(path).status
        except OSError:
            return 0

    def series(self) -> Series:
        """All that /metrics says, read by Prometheus' own parser."""
        answer = self.get("/metrics")
        assert answer.status == 200
        families = text_string_to_metric_families(answer.body.decode())
        return {(s.name, frozenset(s.labels.items())): s.value for f in families for s in f.samples}

    def value(self, name: str, **labels: str) -> float | None:
        """None: it is not shown."""
        return self.series().get((name, frozenset(labels.items())))

    def until(self, name: str, value: float, seconds: float = 30, **labels: str) -> None:
        """Wait until it is shown with this value."""
        try:
            eventually(lambda: self.value(name, **labels) == value, seconds, f"{name} of {labels} is {value}")
        except AssertionError as late:
            raise AssertionError(f"{late}; shown is {self.shown(name)}") from None

    def shown(self, name: str) -> dict[str, float]:
        return {str(dict(labels)): value for (found, labels), value in self.series().items() if found == name}

    def until_ready(self, seconds: float = 60) -> None:
        eventually(lambda: self.status("/ready") == 200, seconds, "/ready says 200")

    def until_not_ready(self, why: str, seconds: float = 40) -> None:
        def says() -> bool:
            answer = self.get("/ready")
            return answer.status == 503 and why in answer.body.decode()

        try:
            eventually(says, seconds, f"/ready says 503 and {why!r}")
        except AssertionError as late:
            raise AssertionError(f"{late}; it says {self.get('/ready').body!r}") from None


@contextmanager
def amends(settings: Settings, *arguments: str, log: Path | None = None, **environment: str) -> Iterator[Watched]:
    """Run a process of the command line, under its role, with a port of its own; it is killed at the end. Its stderr
    goes to `log`.
    """
    port = free_port()
    env = {
        **os.environ,
        "DATABASE_URL": as_role(settings.database_url.get_secret_value(), ROLES[arguments[0]]),
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "AMENDS_TOPIC_PREFIX": settings.topic_prefix,
        "AMENDS_METRICS_PORT": str(port),
        "AMENDS_REPLAY_EVERY_TURNS": "1",
        **environment,
    }
    with ExitStack() as stack:
        stderr = None if log is None else stack.enter_context(log.open("ab"))
        process = subprocess.Popen([sys.executable, "-m", "orchestrator.cli", *arguments], env=env, stderr=stderr)
        stack.callback(process.wait)
        stack.callback(process.kill)
        yield Watched(port, process)
