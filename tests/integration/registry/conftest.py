"""An installation whose processes have a schema registry, and a client in this process."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from orchestrator.messaging import framing
from orchestrator.messaging.topics import Topics
from orchestrator.migrations import migrate
from orchestrator.settings import Settings
from tests.deadlines import deadline
from tests.integration.registry import app
from tests.schema_registry import SchemaRegistry

SHARDS = 4
APP = "tests.integration.registry.app:app"
MESSAGES = [app.Box, app.PackBox, app.SealBox, app.BoxPacked, app.ShipNow]


@dataclass(slots=True)
class Installation:
    """`process` starts one more process of the app; all are killed at the end."""

    settings: Settings
    registry: SchemaRegistry
    caches: Path
    stack: ExitStack
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def environment(self, role: str) -> dict[str, str]:
        return {
            **os.environ,
            "DATABASE_URL": self.settings.database_url.get_secret_value(),
            "KAFKA_BOOTSTRAP_SERVERS": self.settings.kafka_bootstrap_servers,
            "AMENDS_TOPIC_PREFIX": self.settings.topic_prefix,
            "SCHEMA_REGISTRY_URL": self.registry.url,
            "AMENDS_SCHEMA_CACHE_DIR": str(self.caches / role),
            "AMENDS_SCHEMAS_DIR": str(self.caches / "no schemas"),
            "PYTHONPATH": str(Path(__file__).parents[3]),
        }

    def process(self, role: str, *arguments: str, heard: bool = False) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "orchestrator.cli", role, *arguments]
        stderr = subprocess.PIPE if heard else None
        started = subprocess.Popen(command, env=self.environment(role), stderr=stderr)
        self.running[role] = started
        self.stack.callback(started.wait)
        self.stack.callback(started.kill)
        return started

    def register(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator.cli", "schemas", "register", APP],
            env=self.environment("register"), check=False, capture_output=True, text=True, timeout=deadline(60),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def start_all(self) -> None:
        self.process("relay")
        self.process("participant", APP)
        self.process("orchestrator", APP)

    def rows(self, query: str, *params: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.settings.database_url.get_secret_value(), autocommit=True) as connection:
            return connection.execute(query, params).fetchall()  # type: ignore[call-overload, no-any-return]


@pytest.fixture(scope="session")
def database_template() -> None:
    """Empty databases: each installation is migrated with its own topics."""
    return


@pytest.fixture
def installation(
    database_url: str, kafka_bootstrap_servers: str, topic_prefix: str, tmp_path: Path
) -> Iterator[Installation]:
    registry = SchemaRegistry()
    registry.start()
    framing.forget()
    settings = Settings(
        database_url=database_url,  # type: ignore[arg-type]
        kafka_bootstrap_servers=kafka_bootstrap_servers,
        topic_prefix=topic_prefix,
        schema_registry_url=registry.url,  # type: ignore[arg-type]
        schema_cache_dir=tmp_path / "client",
    )
    migrate(
        database_url,
        shards=SHARDS,
        topic_prefix=topic_prefix,
        topics=Topics(topic_prefix).needed(MESSAGES, shards=SHARDS),
        kafka_bootstrap_servers=kafka_bootstrap_servers,
    )
    with ExitStack() as stack:
        stack.callback(registry.stop)
        stack.callback(framing.forget)
        yield Installation(settings, registry, tmp_path, stack)
