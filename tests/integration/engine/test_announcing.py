"""Who waits for a saga is told of its end by the orchestrator, also after the orchestrator's session was lost."""

import threading

import pytest

from orchestrator import Saga, SyncClient, saga
from orchestrator.client import hearing
from tests.deadlines import deadline, eventually
from tests.integration.engine.kit import System

END_SESSIONS = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name ^@ 'amends-announcer-'
"""


@saga
async def brief(s: Saga, name: str) -> str:
    return name


def test_a_client_that_only_listens_learns_of_each_end(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearing, "LOOK_S", 1_000.0)
    system.relay()
    system.orchestrator([brief])
    with SyncClient(system.settings) as client:
        client.run(brief, "first", id="first", timeout=deadline(30))
        client._heard().begin()
        eventually(lambda: client._heard().session > 0, 10, "the client hears")
        for number in range(3):
            assert told(client, f"heard-{number}")
        assert system.rows(END_SESSIONS) == [(1,)]
        assert told(client, "again")


def told(client: SyncClient, saga_id: str) -> bool:
    """Whether it returns; without a timeout, at whose end it would look once more."""
    thread = threading.Thread(target=lambda: client.run(brief, "x", id=saga_id), daemon=True)
    thread.start()
    thread.join(deadline(30))
    return not thread.is_alive()
