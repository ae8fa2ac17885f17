"""The public API as its users type it: the examples must be clean, the wrong lines must be flagged, by both checkers.

A line that ends in `# error` must be flagged, and no other. By default the package of this repository is checked;
AMENDS_TYPING_AGAINST names another folder that holds `orchestrator` and `outbox_relay` (stubs, an installed wheel).
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
AGAINST = Path(os.environ.get("AMENDS_TYPING_AGAINST", ROOT)).resolve()
EXAMPLES = sorted((HERE / "examples").glob("*.py"))
MUST_FAIL = sorted((HERE / "must_fail").glob("*.py"))

Flagged = dict[tuple[str, int], str]  # file name and line -> what was said about it


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    return done.stdout + done.stderr


def mypy(folder: Path) -> Flagged:
    files = map(str, EXAMPLES + MUST_FAIL)
    (folder / "mypy.ini").write_text("[mypy]\nstrict = True\n")
    options = ("--config-file", str(folder / "mypy.ini"), "--cache-dir", str(ROOT / "var/mypy-examples"))
    bases = os.pathsep.join(map(str, (AGAINST, HERE / "examples", HERE / "must_fail")))
    out = run("mypy", *options, "--explicit-package-bases", "--show-absolute-path", *files, MYPYPATH=bases)
    hits = re.findall(r"^(.+?):(\d+):(?:\d+:)? error: (.*)$", out, re.MULTILINE)
    assert hits, f"mypy did not come to an end:\n{out}"
    return {(Path(file).name, int(line)): text for file, line, text in hits if Path(file).is_relative_to(HERE)}


def basedpyright(folder: Path) -> Flagged:
    config = {
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        "include": [str(HERE / "examples"), str(HERE / "must_fail")],
        "extraPaths": [str(AGAINST), str(HERE / "examples")],
        "reportMissingModuleSource": False,
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(config))
    project = str(folder / "pyrightconfig.json")
    out = run("basedpyright", "--outputjson", "--pythonpath", sys.executable, "--project", project)
    found = json.loads(out[out.index("{") : out.rindex("}") + 1])
    assert found["summary"]["filesAnalyzed"] >= len(EXAMPLES + MUST_FAIL), out
    return {
        (Path(hit["file"]).name, hit["range"]["start"]["line"] + 1): hit["message"].splitlines()[0]
        for hit in found["generalDiagnostics"]
        if hit["severity"] == "error" and Path(hit["file"]).is_relative_to(HERE)
    }


def marked() -> set[tuple[str, int]]:
    return {
        (file.name, number)
        for file in MUST_FAIL
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if line.endswith("# error")
    }


@pytest.mark.parametrize("check", [mypy, basedpyright], ids=lambda check: check.__name__)
def test_the_examples_are_clean_and_every_wrong_line_is_flagged(
    check: Callable[[Path], Flagged], tmp_path: Path
) -> None:
    flagged = check(tmp_path)
    unexpected = [f"{file}:{line}: {flagged[file, line]}" for file, line in sorted(flagged.keys() - marked())]
    missed = [f"{file}:{line}: not flagged" for file, line in sorted(marked() - flagged.keys())]
    assert unexpected + missed == []
