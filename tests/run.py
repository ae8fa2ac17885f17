"""`python -m tests.run MARK`: the tests on real servers, one process a folder, on ONE Postgres and ONE Kafka.

A process a folder, because classes are known by their names on the wire: two folders may both have a ChargeCard, as two
services would, and one process can't. `serial` tests bring servers of their own and run one after the other.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from orchestrator.local.stack import running_stack

TESTS = Path(__file__).parent
NO_TESTS = 5  # pytest's exit code where the mark leaves none
WORKERS = os.environ.get("TEST_WORKERS", "2")


def main(mark: str) -> int:
    """The exit code of the first folder that failed; all folders are run."""
    code = 0
    with tempfile.TemporaryDirectory(prefix="amends-run-") as folder, running_stack(Path(folder)) as stack:
        environment = {**os.environ, **stack.stack.environment()}
        for tests in folders():
            began = time.monotonic()
            print(f"-- {tests.relative_to(TESTS.parent)}", flush=True)
            ended = subprocess.run(command(tests, mark), env=environment, check=False, stdin=subprocess.DEVNULL)
            print(f"   {time.monotonic() - began:.0f} s", flush=True)
            if ended.returncode not in (0, NO_TESTS):
                code = code or ended.returncode
    return code


def folders() -> list[Path]:
    """Every folder with tests but tests/unit, which `make check` runs."""
    rooms = sorted(path for path in (TESTS / "integration").iterdir() if (path / "__init__.py").exists())
    others = (path for path in TESTS.iterdir() if path.name not in ("unit", "integration") and path.is_dir())
    return [*rooms, *sorted(path for path in others if any(path.glob("test_*.py")))]


def command(tests: Path, mark: str) -> list[str]:
    parallel = [] if mark.startswith("serial") else ["-n", WORKERS]
    return [sys.executable, "-m", "pytest", "-q", *parallel, "-m", mark, str(tests)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
