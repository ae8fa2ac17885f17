"""A process that has imported everybody else's packages and forks one child a run: a second instead of five.

It is started in a copy of the project. What it imported of ours to get at the others is forgotten before the first
fork, so each child reads our modules anew, with the bug that is in them by then.
"""

import contextlib
import importlib
import json
import os
import sys
from pathlib import Path

import pytest

OURS = ("orchestrator", "outbox_relay", "services", "tests")


def main() -> None:
    """A line in: the arguments of pytest and where its output goes; a line out: its exit code."""
    importlib.import_module("tests.rules.conftest")
    for name in list(sys.modules):
        if name.partition(".")[0] in OURS:
            del sys.modules[name]
    importlib.invalidate_caches()
    for line in sys.stdin:
        arguments, output = json.loads(line)
        child = os.fork()
        if child == 0:
            _run(arguments, Path(output))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _run(arguments: list[str], output: Path) -> None:
    with output.open("w") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    code: int = pytest.ExitCode.INTERNAL_ERROR
    with contextlib.suppress(SystemExit):
        code = pytest.main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
