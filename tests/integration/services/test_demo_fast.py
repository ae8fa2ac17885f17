"""The demo in its fast mode, as `make demo` runs it, on the run's servers: it proves something, nothing is wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.local.stack import Stack
from services.demo.look import STAGES
from services.demo.world import database_of
from tests import servers
from tests.deadlines import deadline

DEMO_S = 240.0
REPOSITORY = Path(__file__).parents[3]


@pytest.mark.timeout(deadline(DEMO_S) + 60)
def test_the_fast_demo_proves_that_nothing_is_lost_or_doubled(stack: Stack, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "services.demo", "--fast", "--var", str(tmp_path / "var")]
    run = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, **stack.environment()},
        capture_output=True,
        text=True,
        timeout=deadline(DEMO_S),
        check=False,
    )
    try:
        assert run.returncode == 0, run.stdout + run.stderr
        report = json.loads((tmp_path / "var" / "demo" / "report.json").read_text())
        listed = looked_at(tmp_path / "var" / "demo" / "env", "amends ls --limit 3 --status completed")
    finally:
        forget(stack, tmp_path / "var" / "demo" / "world.json")
    assert listed.count("order-") == 3, listed
    assert report["violations"] == []
    assert report["checkouts"] >= 40
    assert report["events_consumed"] == report["checkouts"]
    assert report["double_attempts"] > 0
    targets = [fault["target"] for fault in report["faults"]]
    assert targets[0].startswith("orchestrator")
    assert targets[1:] == ["relay", "payments"]
    assert all(report["faults"][0]["open_by_stage"][stage] > 0 for stage in STAGES)
    outcomes = {"success", "out_of_stock", "card_declined", "answer_lost", "gateway_down", "shipping_refused"}
    assert outcomes <= report["outcomes"].keys()


def looked_at(env: Path, command: str) -> str:
    """As somebody types it afterwards, in a shell that knows of nothing."""
    bare = {"PATH": "/usr/bin:/bin", "HOME": str(env.parent)}
    typed = ["bash", "-c", f"source {env} && {command}"]
    return subprocess.run(
        typed, env=bare, cwd=env.parent, capture_output=True, text=True, timeout=60, check=True
    ).stdout


def forget(stack: Stack, world: Path) -> None:
    """Drop what the demo left for people to look at."""
    if world.exists():
        for url in json.loads(world.read_text())["databases"].values():
            servers.drop_databases(stack.database_url, database_of(url))
