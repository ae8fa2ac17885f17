"""What processes log, as JSON: ids that lead from a saga to its handlers, and nothing twice after a takeover."""

import json
from pathlib import Path
from typing import Any

from orchestrator import SyncClient
from orchestrator.tracing.ids import trace_id
from tests.deadlines import deadline, eventually
from tests.integration.engine.kit import System
from tests.integration.operations.watched import APP, amends
from tests.integration.operations.watched_app import Nudge, borrowing, nudged


def lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def saga_lines(log: Path) -> list[dict[str, Any]]:
    return [line for line in lines(log) if line["logger"] == "orchestrator.saga.nudged"]


def test_what_was_said_before_a_takeover_is_not_said_again(system: System, tmp_path: Path) -> None:
    system.relay()
    first_log, second_log = tmp_path / "first.log", tmp_path / "second.log"
    with (
        SyncClient(system.settings) as client,
        amends(system.settings, "orchestrator", f"{APP}:app", log=first_log) as first,
    ):
        first.until_ready()
        client.start(nudged, "anna", id="n")
        eventually(lambda: system.rows("SELECT 1 FROM amends.journal"), 30, "its first turn is committed")
        assert first.process is not None
        first.process.kill()
        with amends(system.settings, "orchestrator", f"{APP}:app", log=second_log) as second:
            second.until_ready()
            client.send("n", Nudge())
            assert client.result(nudged, "n", timeout=deadline(60)) == "anna"
    ((uid, traceparent),) = system.rows("SELECT uid::text, traceparent FROM amends.sagas")
    ids = {"saga_id": "n", "saga_type": "nudged", "trace_id": trace_id(uid, traceparent)}
    before, after = saga_lines(first_log), saga_lines(second_log)
    assert [(line["event"], line["who"]) for line in before] == [("waiting for a nudge", "anna")]
    assert [line["event"] for line in after] == ["was nudged"]
    for line in before + after:
        assert line.items() >= ids.items()


def test_a_handlers_line_leads_to_its_saga_and_its_trace(system: System, tmp_path: Path) -> None:
    system.relay()
    system.orchestrator([borrowing])
    log = tmp_path / "participant.log"
    with amends(system.settings, "participant", f"{APP}:app", log=log) as participant:
        participant.until_ready()
        with SyncClient(system.settings) as client:
            client.run(borrowing, "up", id="b", timeout=deadline(60))
    ((uid, traceparent),) = system.rows("SELECT uid::text, traceparent FROM amends.sagas")
    (line,) = [line for line in lines(log) if line["event"] == "asking the vault"]
    assert {name: value for name, value in line.items() if name != "timestamp"} == {
        "event": "asking the vault",
        "vault": "up",
        "level": "info",
        "logger": "amends.participant",
        "saga_id": "b",
        "command_type": "Lend",
        "operation_key": f"{uid}:0:0",
        "attempt": 1,
        "trace_id": trace_id(uid, traceparent),
    }
