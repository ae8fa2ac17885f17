"""The RM 45 experiment in its fast mode, as `make demo-rm45` runs it, on the tests' servers; sums are counted again."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from orchestrator.local.stack import Stack
from tests.deadlines import deadline
from tests.integration.services.test_demo_fast import REPOSITORY, forget

RUN_S = 150.0
CHARGES = 30
TAKEN = "SELECT count(*), coalesce(sum(cents), 0), count(DISTINCT order_id) FROM charges WHERE order_id LIKE ?"
ASKED = "SELECT count(*) FROM attempts WHERE order_id LIKE ?"


@pytest.mark.timeout(deadline(RUN_S) + 60)
def test_the_fast_run_is_ninety_without_a_key_and_forty_five_with_it(stack: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "var" / "rm45"
    command = [
        sys.executable,
        "-m",
        "services.rm45",
        "--fast",
        "--charges",
        str(CHARGES),
        "--var",
        str(tmp_path / "var"),
    ]
    run = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, **stack.environment()},
        capture_output=True,
        text=True,
        timeout=deadline(RUN_S),
        check=False,
    )
    try:
        assert run.returncode in (0, 3), run.stdout + run.stderr
        report = json.loads((folder / "report.json").read_text())
        (book,) = folder.glob("gateway-*.sqlite")
        with sqlite3.connect(f"file:{book}?mode=ro", uri=True) as reading:
            taken = {name: reading.execute(TAKEN, (f"{name}-%",)).fetchone() for name in report["runs"]}
            asked = {name: reading.execute(ASKED, (f"{name}-%",)).fetchone()[0] for name in report["runs"]}
    finally:
        forget(stack, folder / "world.json")
    assert (taken["no-key"], taken["key"], taken["lookup"]) == ((2, 9000, 1), (1, 4500, 1), (1, 4500, 1))
    for name in ("storm", "trickle"):
        charges, cents, orders = taken[name]
        assert (charges, orders) == (CHARGES, CHARGES)
        assert cents == report["runs"][name]["money_owed_cents"]
    for name, told in report["runs"].items():
        assert (told["charges"], told["money_taken_cents"]) == taken[name][:2]
        assert told["requests"] == asked[name] == sum(told["requests_by_second"].values())
    # How much of a storm so few charges make is the machine's: only that may be too little to prove something.
    assert [why for why in report["why_nothing_proved"] if "it was no storm" not in why] == []
    assert report["violations"] == []
    assert asked["storm"] > asked["trickle"]
    assert report["runs"]["trickle"]["orders_completed"] == CHARGES
    ET.parse(folder / "storm.svg")
