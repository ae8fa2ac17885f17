"""Real processes, each under its own role: a takeover, the desk of the stuck, and who has no right to run."""

import re
import signal
from pathlib import Path

import psycopg
import pytest

from orchestrator import SyncClient
from orchestrator.cli import exits
from orchestrator.migrations.roles import Role, role_name
from tests import roles
from tests.deadlines import eventually
from tests.integration.engine.conftest import books, system
from tests.integration.engine.kit import APP, System
from tests.integration.engine.program import refused, transfer
from tests.integration.engine.test_verbs import is_now, made_stuck, shop
from tests.integration.security.conftest import Installation, migrated
from tests.roles import login

__all__ = ["books", "shop", "system"]


def owners(installation: Installation) -> set[str]:
    found = installation.rows("SELECT w.name FROM amends.shards s JOIN amends.workers w USING (worker)")
    return {name for (name,) in found}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_another_orchestrator_takes_over(installation: Installation, number: signal.Signals) -> None:
    """A stopped one's sessions are ended by the other: both have one login."""
    migrated(installation)
    installation.process("relay", "relay")
    installation.process("participant", "participant", APP)
    first = installation.process("worker", "orchestrator", APP)
    client = installation.client()
    client.start(transfer, "before", id="before")
    assert installation.ended("before") == {"before": "completed"}
    [name] = owners(installation)
    installation.process("worker", "orchestrator", APP)
    first.signal(number)
    client.start(transfer, "after", id="after")
    client.start(refused, "undone", id="undone")
    eventually(lambda: (now := owners(installation)) and name not in now, 60, "the other one has all shards")
    assert installation.ended("after", "undone") == {"after": "completed", "undone": "failed"}
    assert [installation.booked(one) for one in ("before", "after", "undone")] == [30, 30, 0]
    if number == signal.SIGSTOP:
        pids = "SELECT 1 FROM amends.workers w, jsonb_array_elements(w.backends) b JOIN pg_stat_activity a ON a.pid = "
        left = installation.rows(pids + "(b ->> 0)::int WHERE w.name = %s AND a.backend_start::text = b ->> 1", name)
        assert left == []  # no session of the stopped one is left


def test_the_desk_of_the_stuck_works_under_the_console(shop: System) -> None:
    desk = Installation(shop.url, shop.settings.topic_prefix, shop.settings.kafka_bootstrap_servers, shop.stack)
    with SyncClient(shop.settings) as client:
        made_stuck(shop, client)
    code, said = desk.amends("console", "stuck")
    assert (code, "Rusted" in said) == (exits.OK, True), said
    code, said = desk.amends("client", "skip", "s", "--note", "scrapped by hand")
    assert (code, "permission denied for table verbs" in said) == (exits.DEPENDENCY, True), said
    code, said = desk.amends("console", "skip", "s", "--note", "scrapped by hand")
    assert code == exits.OK, said
    eventually(lambda: is_now(shop, "s", "failed"), 30, "the rest is undone")
    for command in (("show", "s"), ("trace", "s"), ("ls",), ("outbox", "ls"), ("outbox", "dead")):
        code, said = desk.amends("console", *command)
        assert code == exits.OK, said
    [(by,)] = shop.rows("SELECT given_by FROM amends.verbs")
    assert by.endswith("_console_login")


@pytest.mark.parametrize("role", ["client", "console", "relay", "participant"])
def test_an_orchestrator_under_another_role_ends_and_says_which(installation: Installation, role: Role) -> None:
    migrated(installation)
    code, said = installation.amends(role, "orchestrator", APP)
    assert code == exits.DEPENDENCY
    assert "An orchestrator logs in under the role `worker`" in said.splitlines()[-1]


def test_a_participant_under_no_role_ends_and_says_which_it_needs(installation: Installation) -> None:
    migrated(installation)
    with psycopg.connect(installation.url, autocommit=True) as connection:
        nobody = login(connection, "")
    code, said = installation.amends(nobody, "participant", APP)
    assert (code, "A participant logs in under the role `participant`" in said) == (exits.DEPENDENCY, True), said


def test_a_relay_whose_login_may_not_replicate_says_so_and_polls(installation: Installation, tmp_path: Path) -> None:
    migrated(installation)
    with psycopg.connect(installation.url, autocommit=True) as connection:
        relay = login(connection, "NOREPLICATION", role_name(roles.prefix(), "relay"))
    log = tmp_path / "relay.log"
    installation.process("participant", "participant", APP)
    installation.process("worker", "orchestrator", APP)
    installation.process(relay, "relay", log=log)
    installation.client().start(transfer, "polled", id="polled")
    assert installation.ended("polled") == {"polled": "completed"}
    assert re.search("to start (WAL sender|walsender)", log.read_text())  # the latter until PostgreSQL 15
    assert "The table is polled" in log.read_text()
