"""What is measured: two databases on one server, topics of its own, and processes as `amends` runs them."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from orchestrator.local.stack import Stack
from orchestrator.migrations import migrate
from orchestrator.run import topics_of
from orchestrator.settings import Settings
from tests import servers
from tests.bench.program import app
from tests.deadlines import deadline, eventually

APP = "tests.bench.program:app"
ROOT = Path(__file__).parents[2]
READY_S = 30


@dataclass(slots=True)
class Installation:
    """`settings` are a client's; `service_url` is the participant's own database."""

    settings: Settings
    service_url: str
    collector_url: str
    stack: ExitStack
    running: dict[str, "Process"] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.settings.database_url.get_secret_value()

    def spawn_orchestrator(self, name: str) -> "Process":
        """Start one, and don't wait for it."""
        return self._process(name, self.url, "orchestrator", APP, spans=True)

    def orchestrator(self, name: str = "orchestrator") -> "Process":
        """Start one; returns when it is up and no shard is free."""
        process = self.spawn_orchestrator(name)
        known = "SELECT count(*) FROM amends.workers WHERE name = %s AND beat_at > clock_timestamp() - interval '2 s'"
        eventually(lambda: self.row(known, name)[0], READY_S, f"{name} is up")
        eventually(lambda: self.row("SELECT count(*) FROM amends.shards WHERE owner IS NULL")[0] == 0, READY_S, "owned")
        return process

    def relay(self, mode: str = "cdc") -> "Process":
        """One process for both databases."""
        databases = [word for url in (self.url, self.service_url) for word in ("--database", url)]
        return self._process("relay", self.url, "relay", "--mode", mode, *databases)

    def participant(self) -> "Process":
        return self._process("participant", self.service_url, "participant", APP)

    def _process(self, name: str, url: str, *arguments: str, spans: bool = False) -> "Process":
        environment = {
            **os.environ,
            "DATABASE_URL": url,
            "KAFKA_BOOTSTRAP_SERVERS": self.settings.kafka_bootstrap_servers,
            "AMENDS_TOPIC_PREFIX": self.settings.topic_prefix,
            "AMENDS_WORKER_NAME": name,
            "AMENDS_LOG_LEVEL": "warning",
            "PYTHONPATH": str(ROOT),
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # few users compile all anew at each start
        if spans:
            environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = self.collector_url
        process = Process([sys.executable, "-m", "orchestrator.cli", *arguments], environment)
        self.running[name] = process
        self.stack.callback(process.end)
        return process

    def row(self, sql: str, *params: object, url: str | None = None) -> tuple:
        """The first row of a query."""
        with psycopg.connect(url or self.url, autocommit=True) as connection:
            found = connection.execute(sql.encode(), params).fetchone()
        assert found is not None
        return found


class Process:
    """A process to be killed, stopped and woken."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._running = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
        self.pid = self._running.pid

    def send(self, number: signal.Signals) -> None:
        self._running.send_signal(number)

    def kill(self) -> None:
        """SIGKILL; it is gone when this returns."""
        self._running.kill()
        self._running.wait()

    def end(self) -> None:
        """As a planned stop does."""
        if self._running.poll() is None:
            self.send(signal.SIGCONT)
            self.send(signal.SIGTERM)
        try:
            self._running.wait(deadline(READY_S))
        finally:
            self._running.kill()
            self._running.wait()


@contextmanager
def installation(stack: Stack, collector_url: str) -> Iterator[Installation]:
    """A migrated installation of which nothing runs yet; dropped at the end."""
    prefix = f"bench.{secrets.token_hex(4)}."
    kafka = stack.kafka_bootstrap_servers
    own, service = (servers.create_database(stack.database_url) for _ in range(2))
    settings = Settings(database_url=own, kafka_bootstrap_servers=kafka, topic_prefix=prefix)  # type: ignore[arg-type]
    topics = topics_of(app, prefix)
    for url, part in ((own, "engine"), (service, "participant")):
        migrate(url, parts=[part], topic_prefix=prefix, topics=topics, kafka_bootstrap_servers=kafka)  # type: ignore[list-item]
    try:
        with ExitStack() as running:
            yield Installation(settings, service, collector_url, running)
    finally:
        servers.delete_topics(kafka, prefix)
        for url in (own, service):
            servers.drop_databases(stack.database_url, servers.database_name(url))
