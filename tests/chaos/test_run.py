"""`make chaos`, short and with a fixed seed: each kind of fault comes, all move again each time, the books add up."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.local.background import down
from orchestrator.local.paths import VarDir
from orchestrator.local.processes import PidFile
from services.chaos.schedule import BY_NAME, schedule
from tests.deadlines import deadline, eventually

pytestmark = [pytest.mark.serial, pytest.mark.slow]

SEED, MINUTES = 9, 2.0
RUN_S = 420.0
PATIENCE_S = 30.0
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def var(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "var"
    down(tmp_path / "var" / "chaos")  # what a run left that was killed for taking too long


def begin(var: Path, *options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "services.chaos", "--var", str(var), *options]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.timeout(deadline(RUN_S) + 120)
def test_a_short_run_breaks_everything_once_and_nothing_is_lost(var: Path) -> None:
    options = ("--seed", str(SEED), "--minutes", str(MINUTES), "--patience", str(deadline(PATIENCE_S)))
    run = begin(var, *options)
    output, _ = run.communicate(timeout=deadline(RUN_S))
    assert run.returncode == 0, output
    report = json.loads((var / "chaos" / "report.json").read_text())
    assert (report["violations"], report["failure"], report["dead_letters"]) == ([], "", 0)
    planned = schedule(SEED, MINUTES * 60)
    assert [(fault["kind"], fault["target"]) for fault in report["faults"]] == [
        (fault.kind, fault.target) for fault in planned[: len(report["faults"])]
    ]
    assert {fault["kind"] for fault in report["faults"]} == set(BY_NAME)
    assert all(0 <= fault["first_s"] <= fault["all_s"] <= deadline(PATIENCE_S) for fault in report["faults"])
    assert report["checkouts"] == sum(report["outcomes"].values()) == report["events_consumed"]
    assert report["checkouts"] > 60
    assert f"make chaos MINUTES=2 SEED={SEED}" in output


@pytest.mark.timeout(deadline(120) + 60)
def test_ctrl_c_ends_it_and_leaves_nothing_running(var: Path) -> None:
    run = begin(var, "--seed", "1", "--only", "freeze-long")
    assert run.stdout is not None
    assert any("freeze long" in line for line in run.stdout), "the first process is frozen"
    children = [PidFile.read(path) for path in VarDir(var / "chaos").run.glob("*.json")]
    assert len([child for child in children if child and child.identity.is_alive()]) >= 12
    os.kill(run.pid, signal.SIGINT)
    output, _ = run.communicate(timeout=deadline(60))
    assert run.returncode == 130, output
    assert "make chaos MINUTES=10 SEED=1 ONLY=freeze-long" in output
    eventually(lambda: not any(child and child.identity.is_alive() for child in children), 5, "all have ended")
