"""`python -m tests.run quick|slow|serial|older|pythons …`: tests on real servers, a process a folder, ONE Postgres and
ONE Kafka.

A process a folder, because classes are known by their names on the wire: two folders may both have a ChargeCard, as two
services would, and one process can't. `serial` tests bring servers of their own and run one after the other.

`older` runs the engine's quick tests once more on PostgreSQL 16, and `pythons` those of the core on other interpreters.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from orchestrator.local.stack import running_stack
from tests import pythons
from tests.failures import Failure, failures, summary

TESTS = Path(__file__).parent
MARKS = {"quick": "not slow and not serial", "slow": "slow and not serial", "serial": "serial"}
OLDER_POSTGRES = "16"  # beside 18 in the wheel; 15 is the oldest that is promised
NO_TESTS = 5  # pytest's exit code where the mark leaves none
NAMED_FROM_S = 15
WORKERS = os.environ.get("TEST_WORKERS", "3")  # of pytest-xdist: most of a test is waiting for servers


def main(kinds: list[str]) -> int:
    """1 if anything failed; all are run."""
    tiers = [kind for kind in kinds if kind in MARKS]
    failed = tiers_on_servers(tiers) if tiers else []
    if "older" in kinds:
        # Read by the stack when it starts.
        os.environ["POSTGRES_VERSION"] = OLDER_POSTGRES
        print(f"-- on PostgreSQL {OLDER_POSTGRES}", flush=True)
        failed += tiers_on_servers(["quick"], [TESTS / "integration" / "engine"])
    if "pythons" in kinds and (code := pythons.main()):
        failed.append(Failure("python -m tests.pythons", f"exit code {code}; its output stands above", ""))
    if failed:
        print(summary(failed), flush=True)
    return 1 if failed else 0


def tiers_on_servers(kinds: list[str], only: list[Path] | None = None) -> list[Failure]:
    """What failed in these folders; all are run."""
    failed: list[Failure] = []
    told = []
    with tempfile.TemporaryDirectory(prefix="amends-run-") as folder, running_stack(Path(folder)) as stack:
        environment = {**os.environ, **stack.stack.environment()}
        for kind, tests in [(each, tests) for each in kinds for tests in only or folders(each)]:
            name, began = f"{kind:6} {tests.relative_to(TESTS.parent)}", time.monotonic()
            print(f"-- {name}", flush=True)
            report = Path(folder, f"report-{len(told)}.xml")
            run = [*command(tests, kind), f"--junitxml={report}"]
            ended = subprocess.run(run, env=environment, check=False, stdin=subprocess.DEVNULL)
            if ended.returncode not in (0, NO_TESTS):
                failed += failures(report) or [Failure(name, f"exit code {ended.returncode}, and no report", "")]
                name += "  FAILED"
            told.append(f"{time.monotonic() - began:6.0f} s  {name}")
    print("-- seconds of each", *told, sep="\n", flush=True)
    return failed


def folders(kind: str) -> list[Path]:
    """Every folder with tests of this kind but tests/unit, which `make check` runs."""
    rooms = sorted(path for path in (TESTS / "integration").iterdir() if path.is_dir())
    others = sorted(path for path in TESTS.iterdir() if path.name not in ("unit", "integration") and path.is_dir())
    return [room for room in (*rooms, *others) if any(_may_have(kind, tests) for tests in room.rglob("test_*.py"))]


def _may_have(kind: str, tests: Path) -> bool:
    """To ask pytest would take each folder some seconds; so a mark has to stand in the file itself."""
    return kind == "quick" or f"mark.{kind}" in tests.read_text()


def command(tests: Path, kind: str) -> list[str]:
    """It names what takes long: a test that waits far longer than it should passes by luck."""
    parallel = [] if kind == "serial" else ["-n", WORKERS]
    slowest = ["--durations=5", f"--durations-min={NAMED_FROM_S}"]
    return [sys.executable, "-m", "pytest", "-q", *parallel, *slowest, "-m", MARKS[kind], str(tests)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
