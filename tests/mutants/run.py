"""Plant each bug in a copy of the project and run the tests of its rule there: one of them has to fail.

A test that fails without any bug proves nothing, so the copy's tests are run first as they are. An error that is none
of a test's (an import that breaks, a fixture that can't be made) is not a find.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.mutant import ROOT, Mutant

COPIED = ("orchestrator", "outbox_relay", "services", "schemas", "compose", "tests", "pyproject.toml")
SECONDS_MAX = 300.0
SERVERS = ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS")
_FAILED = re.compile(r"^FAILED \S+?::(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Find:
    """What the tests said to a mutant. `killed_by` is empty if none of them failed: then `output` says why."""

    mutant: Mutant
    killed_by: str
    seconds: float
    output: str = ""


class ControlFailed(Exception):
    """The tests fail without any bug."""


class Nursery:
    """A copy of the project, with one bug at a time."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "copy"
        self.root.mkdir(parents=True)
        self._touched_s = int(time.time())
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, self.root / name, ignore=shutil.ignore_patterns("__pycache__", "var"))
            elif source.exists():
                shutil.copy2(source, self.root / name)

    def control(self, mutants: Sequence[Mutant]) -> None:
        """Raises ControlFailed. Tests that need servers run only if one of the mutants does."""
        rules = sorted({mutant.rule for mutant in mutants})
        ended = self._pytest(rules, with_servers=any(m.needs_servers for m in mutants), first_only=False)
        if ended.returncode != 0:
            raise ControlFailed(
                f"the tests fail without any bug, so a find would prove nothing:\n{ended.stdout[-4000:]}"
            )

    def find(self, mutant: Mutant) -> Find:
        """Raises MutantOutdated."""
        path, began = self.root / mutant.file, time.monotonic()
        right, wrong = path.read_text(), mutant.applied(self.root)
        self._write(path, wrong)
        try:
            ended = self._pytest([mutant.rule], with_servers=mutant.needs_servers, first_only=True)
        finally:
            self._write(path, right)
        failed = _FAILED.search(ended.stdout)
        killed_by = failed.group(1) if failed is not None and ended.returncode == 1 else ""
        return Find(mutant, killed_by, time.monotonic() - began, "" if killed_by else ended.stdout[-4000:])

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text)
        # Python knows a compiled module by its source's size and whole second: no two versions may share both.
        self._touched_s += 1
        os.utime(path, (self._touched_s, self._touched_s))

    def _pytest(
        self, rules: Sequence[int], *, with_servers: bool, first_only: bool
    ) -> "subprocess.CompletedProcess[str]":
        files = sorted(
            str(file.relative_to(self.root))
            for rule in rules
            for file in (self.root / "tests" / "rules").glob(f"test_rule_{rule:02}_*.py")
        )
        chosen = ["servers" if with_servers and first_only else "not servers"]
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--timeout",
            str(SECONDS_MAX),
            *files,
        ]
        if first_only or not with_servers:
            command += ["-m", *chosen]
        if first_only:
            command += ["-x"]
        ended = subprocess.run(
            command,
            cwd=self.root,
            env=_environment(self.root),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS_MAX * 2,
            check=False,
        )
        if not files:
            raise ControlFailed(f"there are no tests of the rules {rules} in tests/rules")
        return ended


def _environment(root: Path) -> dict[str, str]:
    """The copy's code, whatever is installed; and no trace of a pytest that runs around us."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "AMENDS_TEST_RUN"))}
    return kept | {"PYTHONPATH": str(root)}
