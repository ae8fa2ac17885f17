"""An installation of the ledger whose processes log in to Postgres and Kafka, each as somebody else."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from orchestrator import SyncClient
from orchestrator.local.stack import Stack
from orchestrator.migrations.roles import ROLES, Role
from orchestrator.settings import Settings
from tests import roles, servers
from tests.deadlines import deadline, eventually
from tests.integration.engine import program
from tests.integration.engine.kit import APP, Process
from tests.integration.security import kafka
from tests.integration.security.kafka import SecureKafka
from tests.roles import as_login, as_role

PARTS = ("--part", "engine", "--part", "participant")
PRINCIPALS = {"worker": "orchestrator", "relay": "relay", "ledger": "ledger", "console": "doctor"}


@dataclass
class Installation:
    """`url` is the administrator's; without a secured Kafka its processes share the run's."""

    url: str
    prefix: str
    bootstrap: str
    stack: ExitStack
    secure: SecureKafka | None = None

    def environment(self, role: Role | str | None, user: str | None = None) -> dict[str, str]:
        """Of a process under a role, another login, or the administrator's; `user` is who it is in Kafka."""
        environment = {
            **os.environ,
            "DATABASE_URL": self._url(role),
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "AMENDS_TOPIC_PREFIX": self.prefix,
        }
        if self.secure is not None:
            administrators = user is None
            environment["KAFKA_BOOTSTRAP_SERVERS"] = self.secure.admin if administrators else self.secure.bootstrap
            if user is not None:
                environment["AMENDS_KAFKA_CONFIG"] = str(self.secure.login(user))
        return environment

    def _url(self, role: Role | str | None) -> str:
        if role is None:
            return self.url
        return as_login(self.url, roles.login_of(role) if role in ROLES else role)

    def amends(self, role: Role | str | None, *arguments: str, user: str | None = None) -> tuple[int, str]:
        """Run a command to its end: its exit code, and all that it said."""
        command = [sys.executable, "-m", "orchestrator.cli", *arguments]
        done = subprocess.run(
            command, env=self.environment(role, user), capture_output=True, text=True, timeout=deadline(60), check=False
        )
        return done.returncode, done.stdout + done.stderr

    def process(self, role: Role | str, *arguments: str, user: str | None = None, log: Path | None = None) -> Process:
        """Start a process of the installation; what it says goes to the test's output, or to `log`."""
        command = (sys.executable, "-m", "orchestrator.cli", *arguments)
        if log is not None:
            command = ("bash", "-c", 'log=$1; shift; exec "$@" 2> "$log"', "amends", str(log), *command)
        process = Process(command, self.environment(role, user))
        self.stack.callback(process.end)
        return process

    def client(self) -> SyncClient:
        client = SyncClient(Settings(database_url=as_role(self.url, "client"), topic_prefix=self.prefix))  # type: ignore[arg-type]
        return self.stack.enter_context(client)

    def rows(self, query: str, *params: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(query, params).fetchall()  # type: ignore[call-overload, no-any-return]

    def ended(self, *ids: str, seconds: float = 60) -> dict[str, str]:
        query = "SELECT id, status FROM amends.sagas WHERE id = ANY (%s) AND ended_at IS NOT NULL"

        def statuses() -> dict[str, str] | None:
            found = dict(self.rows(query, list(ids)))
            return found if len(found) == len(ids) else None

        return eventually(statuses, seconds, f"the end of {ids}")

    def booked(self, account: str) -> int:
        [(total,)] = self.rows("SELECT coalesce(sum(amount), 0)::int FROM bookings WHERE account = %s", account)
        return total


def migrated(installation: Installation, *principals: str) -> str:
    """Tables, topics, roles and ACLs as an administrator makes them; what the command said."""
    given = [argument for one in principals for argument in ("--principal", one)]
    code, said = installation.amends(
        None, "migrate", APP, *PARTS, "--shards", "2", "--roles", "--role-prefix", roles.prefix(), *given
    )
    assert code == 0, said
    with psycopg.connect(installation.url, autocommit=True) as connection:
        connection.execute(program.TABLES.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS"))
    roles.grant(installation.url)
    return said


@pytest.fixture
def installation(database_url: str, kafka_bootstrap_servers: str, topic_prefix: str) -> Iterator[Installation]:
    """Nothing is migrated and nothing runs."""
    with ExitStack() as stack:
        yield Installation(database_url, topic_prefix, kafka_bootstrap_servers, stack)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    with kafka.running(tmp_path_factory.mktemp("secure")) as found:
        yield found


@pytest.fixture
def guarded(database_url: str, secure: SecureKafka, stack: Stack) -> Iterator[Installation]:
    """As `installation`, on the Kafka that enforces ACLs."""
    prefix = f"{servers.database_name(database_url)}."
    with ExitStack() as parts:
        yield Installation(database_url, prefix, secure.bootstrap, parts, secure)
