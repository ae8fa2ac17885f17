"""Plant each bug in a copy of the project and run the tests of its rule there: one of them has to fail.

A test that fails without any bug proves nothing, so the copy's tests are run first as they are. An error that is none
of a test's (an import that breaks, a fixture that can't be made) is not a find.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.mutants.mutant import ROOT, Mutant

COPIED = ("orchestrator", "outbox_relay", "services", "schemas", "compose", "tests", "pyproject.toml")
SECONDS_MAX = 300  # of one test
OUTPUT_CHARS_MAX = 4_000
_WITHOUT = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:anyio")  # a second to import
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
        self.root, self._output = folder / "copy", folder / "output"
        self.root.mkdir(parents=True)
        self._touched_s = int(time.time())
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, self.root / name, ignore=shutil.ignore_patterns("__pycache__", "var"))
            else:
                shutil.copy2(source, self.root / name)
        command = [sys.executable, "-m", "tests.mutants.warm"]
        pipe = subprocess.PIPE
        self._warm = subprocess.Popen(
            command, cwd=self.root, env=_environment(self.root), stdin=pipe, stdout=pipe, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._warm.communicate()

    def control(self, mutants: Sequence[Mutant]) -> None:
        """Raises ControlFailed. Tests that need servers run only if one of the mutants does."""
        for needs_servers in sorted({mutant.needs_servers for mutant in mutants}):
            rules = {mutant.rule for mutant in mutants if mutant.needs_servers == needs_servers}
            code, output = self._pytest(rules, needs_servers=needs_servers)
            if code != pytest.ExitCode.OK:
                end = output[-OUTPUT_CHARS_MAX:]
                raise ControlFailed(f"the tests fail without any bug, so a find would prove nothing:\n{end}")

    def find(self, mutant: Mutant) -> Find:
        """Raises MutantOutdated."""
        path, began_s = self.root / mutant.file, time.monotonic()
        right, wrong = path.read_text(), mutant.applied(self.root)
        self._write(path, wrong)
        try:
            code, output = self._pytest({mutant.rule}, "-x", needs_servers=mutant.needs_servers)
        finally:
            self._write(path, right)
        killed_by = failed_test(output) if code == pytest.ExitCode.TESTS_FAILED else ""
        return Find(mutant, killed_by, time.monotonic() - began_s, "" if killed_by else output[-OUTPUT_CHARS_MAX:])

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text)
        # Python knows a compiled module by its source's size and whole second: no two versions may share both.
        self._touched_s += 1
        os.utime(path, (self._touched_s, self._touched_s))

    def _pytest(self, rules: set[int], *more: str, needs_servers: bool) -> tuple[int, str]:
        folder = self.root / "tests" / "rules"
        files = [str(file) for rule in sorted(rules) for file in sorted(folder.glob(f"test_rule_{rule:02}_*.py"))]
        mark = "servers" if needs_servers else "not servers"
        arguments = ["-q", *_WITHOUT, "--timeout", str(SECONDS_MAX), "-m", mark, *more, *files]
        assert self._warm.stdin is not None
        assert self._warm.stdout is not None
        self._warm.stdin.write(json.dumps([arguments, str(self._output)]) + "\n")
        self._warm.stdin.flush()
        code = self._warm.stdout.readline()
        if not code:
            raise ControlFailed("tests.rules.conftest can't be imported: see above")
        return int(code), self._output.read_text()


def failed_test(output: str) -> str:
    """The first test that pytest's summary calls failed, or "". Where CI is set, its line may go on for pages."""
    failed = _FAILED.search(output)
    return failed.group(1) if failed is not None else ""


def _environment(root: Path) -> dict[str, str]:
    """The copy's code, whatever is installed; and no trace of a pytest that runs around us."""
    dropped = ("PYTEST_", "AMENDS_TEST_RUN", "PYTHONDONTWRITEBYTECODE")  # what was compiled once serves all runs
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return kept | {"PYTHONPATH": str(root)}
