"""How fast Amends is on this machine: `make bench`, or `python -m tests.bench --rounds 1 local_rate` for one of them.

Real Kafka and real Postgres with fsync, processes as `amends` runs them, the public Client. Each round measures
everything once, so that a machine that changes its speed does it to all; a value is the median of its rounds. Absolute
figures lie on a noisy machine: `reference_commits_per_s` is measured in the same run, and judges rates and times.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.local.stack import Stack, running_stack
from tests import servers
from tests.bench import growth, latency, memory, rates, recovery, reference, relaying, replaying, waking
from tests.bench.installation import Installation, installation
from tests.bench.targets import TARGETS

MEASURES: tuple[Callable[[Installation], dict[str, float]], ...] = (
    rates.local_rate,
    rates.remote_rate,
    latency.local_latency,
    latency.remote_latency,
    waking.wake,
    recovery.restart,
    recovery.takeover,
    recovery.takeover_stopped,
    recovery.handover,
    relaying.cdc_rate,
    relaying.polling_rate,
    replaying.replay_thousand,
    growth.growth,
    memory.parked,
)
ONCE = (memory.parked,)  # minutes, and the same each time
REFERENCE = "reference_commits_per_s"
LATEST = Path("var/bench/latest.json")


def main() -> int:
    """Always 0: a figure is no test."""
    options = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    names = [each.__name__ for each in MEASURES]
    options.add_argument("measures", nargs="*", choices=[*names, []], help="all, if none")  # argparse checks none, too
    options.add_argument("--rounds", type=int, default=3)
    chosen = options.parse_args()
    measures = [each for each in MEASURES if not chosen.measures or each.__name__ in chosen.measures]
    found: dict[str, list[float]] = {}
    with _servers() as stack, _collector() as collector_url:
        for number in range(chosen.rounds):
            print(f"-- round {number + 1} of {chosen.rounds}", flush=True)
            _note(found, {REFERENCE: reference.commits_per_s(stack)})
            for measure in [each for each in measures if number == 0 or each not in ONCE]:
                with installation(stack, collector_url) as place:
                    _note(found, measure(place))
    rows = _rows({name: statistics.median(values) for name, values in found.items()})
    LATEST.parent.mkdir(parents=True, exist_ok=True)
    LATEST.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    print(_table(rows, found))
    return 0


def _note(found: dict[str, list[float]], values: dict[str, float]) -> None:
    for name, value in values.items():
        print(f"   {name}: {value:,.4g}", flush=True)
        found.setdefault(name, []).append(value)


def _rows(values: dict[str, float]) -> list[dict[str, object]]:
    commits = values.pop(REFERENCE)
    rows: list[dict[str, object]] = [
        {"id": REFERENCE, "value": round(commits), "unit": "commits/s", "target": None, "met": None}
    ]
    for name, value in values.items():
        target = TARGETS[name]
        owed, met = target.owed(commits), target.met(value, commits)
        rows.append({"id": name, "value": round(value, 3), "unit": target.unit, "target": round(owed, 3), "met": met})
    return rows


def _table(rows: list[dict[str, object]], found: dict[str, list[float]]) -> str:
    lines = [f"{'id':<26} {'value':>10} {'target':>10} {'unit':<10} met  rounds"]
    for row in rows:
        name = str(row["id"])
        rounds = " ".join(f"{value:,.4g}" for value in found[name])
        met = "" if row["met"] is None else "yes" if row["met"] else "NO"
        lines.append(f"{name:<26} {row['value']!s:>10} {row['target'] or '':>10} {row['unit']!s:<10} {met:<4} {rounds}")
    return "\n".join(lines)


@contextmanager
def _servers() -> Iterator[Stack]:
    os.environ["POSTGRES_FSYNC"] = "on"
    servers.begin_run()
    try:
        with tempfile.TemporaryDirectory(prefix="amends-bench-") as folder, running_stack(Path(folder)) as stack:
            yield stack.stack
    finally:
        servers.end_run()


@contextmanager
def _collector() -> Iterator[str]:
    command = [sys.executable, "-m", "tests.bench.collector"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            yield f"http://127.0.0.1:{running.stdout.readline().strip()}"
        finally:
            running.kill()


if __name__ == "__main__":
    sys.exit(main())
