"""Write the figures of the last `make bench` into README.md and docs/performance.md: `python -m tests.bench.page`.

The tables stand between the two marks, and nothing else of the pages is touched.
"""

import json
import sys
from pathlib import Path
from typing import Any

from tests.bench.targets import TARGETS

LATEST = Path("var/bench/latest.json")
PAGES = (Path("README.md"), Path("docs/performance.md"))
BEGIN, END = "<!-- bench -->", "<!-- end of bench -->"
REFERENCE = "reference_commits_per_s"
WHAT = {
    REFERENCE: "one-row INSERTs by pgbench, 16 clients: what this machine's Postgres does",
    "local_steps_per_s": "2,000 sagas of 5 local steps",
    "local_cpu_s_per_1000": "CPU of every process for 1,000 of these steps",
    "local_p50_ms": "one saga of 5 local steps at a time, as a client sees it, median",
    "local_p99_ms": "the same, 99th percentile",
    "wake_5000_s": "5,000 sagas that wait are sent a message each: until the last has ended",
    "restart_s": "SIGKILL of the only orchestrator amid 500 sagas, started again: its first commit",
    "takeover_s": "SIGKILL of one of two: the first commit in its shards",
    "takeover_stopped_s": "SIGSTOP of one of two: the same",
    "handover_gap_ms": "planned stop of one of two: the longest time without a commit in its shards",
    "remote_steps_per_s": "2,000 sagas of 3 commands to a participant, over Kafka and back",
    "remote_p50_ms": "one saga of 3 commands at a time, as a client sees it, median",
    "remote_p99_ms": "the same, 99th percentile",
    "journal_bytes_per_step": "the journal with its index, a local step of 200 bytes",
    "wal_bytes_per_step": "all WAL of that run, starts and ends included",
    "replay_1000_ms": "a journal of 1,000 entries to a coroutine that waits",
    "relay_cdc_rows_per_s": "50,000 rows of 200 bytes, from the first COMMIT to the last ack, logical decoding",
    "relay_polling_rows_per_s": "50,000 rows, polling",
    "relay_p50_ms": "one row at a time, from its COMMIT to a consumer",
    "parked_100000_rss_mb": "an orchestrator with 100,000 waiting sagas, at its largest",
    "growth_20000_ratio": "the rate of remote steps beside 20,000 waiting sagas, against 2,000",
}


def main() -> int:
    """1 if the last run did not measure everything."""
    rows = {row["id"]: row for row in json.loads(LATEST.read_text())["rows"]}
    if missing := [name for name in WHAT if name not in rows]:
        print(f"{LATEST} lacks {', '.join(missing)}: run `make bench`", file=sys.stderr)
        return 1
    for page in PAGES:
        page.write_text(with_table(page.read_text(), table(rows)))
    return 0


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = ["| | measured | hoped for | |", "| --- | ---: | ---: | --- |"]
    for name, what in WHAT.items():
        row, hoped = rows[name], ""
        if name in TARGETS:
            hoped = f"{'≥' if TARGETS[name].at_least else '≤'} {shown(row['target'])}"
        short = "**short**" if row["met"] is False else ""
        lines.append(f"| {what} | {shown(row['value'])} {row['unit']} | {hoped} | {short} |")
    return "\n".join(lines)


def shown(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def with_table(text: str, new: str) -> str:
    """The page with another table between its marks."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{new}\n{END}{after}"


if __name__ == "__main__":
    sys.exit(main())
