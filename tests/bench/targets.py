"""What is measured, and what is to be reached. One row each in `var/bench/latest.json`."""

from collections.abc import Mapping
from dataclasses import dataclass

REFERENCE_COMMITS_PER_S = 25_000
"""The commits a second (one-row INSERTs, 16 clients) of the machine for which the targets were set."""

UNITS_OF_SPEED = frozenset({"steps/s", "rows/s", "CPU-s", "s", "ms"})


@dataclass(frozen=True, slots=True)
class Target:
    """`at_least`: more is better. A slower machine owes less of a rate, and has more time; bytes are bytes anywhere."""

    unit: str
    value: float
    at_least: bool = False

    def owed(self, reference_commits_per_s: float) -> float:
        """The value to be reached on this machine."""
        if self.unit not in UNITS_OF_SPEED:
            return self.value
        speed = min(1.0, reference_commits_per_s / REFERENCE_COMMITS_PER_S)
        return self.value * speed if self.at_least else self.value / speed

    def met(self, value: float, reference_commits_per_s: float) -> bool:
        owed = self.owed(reference_commits_per_s)
        return value >= owed if self.at_least else value <= owed


TARGETS: Mapping[str, Target] = {
    "local_steps_per_s": Target("steps/s", 15_000, at_least=True),
    "local_cpu_s_per_1000": Target("CPU-s", 0.10),
    "local_p50_ms": Target("ms", 9),
    "local_p99_ms": Target("ms", 16),
    "wake_5000_s": Target("s", 0.7),
    "restart_s": Target("s", 1.0),
    "takeover_s": Target("s", 0.3),
    "takeover_stopped_s": Target("s", 5),
    "handover_gap_ms": Target("ms", 250),
    "remote_steps_per_s": Target("steps/s", 6_000, at_least=True),
    "remote_p50_ms": Target("ms", 18),
    "remote_p99_ms": Target("ms", 40),
    "journal_bytes_per_step": Target("bytes", 300),
    "wal_bytes_per_step": Target("bytes", 500),
    "replay_1000_ms": Target("ms", 10),
    "relay_cdc_rows_per_s": Target("rows/s", 25_000, at_least=True),
    "relay_polling_rows_per_s": Target("rows/s", 15_000, at_least=True),
    "relay_p50_ms": Target("ms", 3),
    "parked_100000_rss_mb": Target("MB", 600),
    "growth_20000_ratio": Target("ratio", 0.9, at_least=True),
}
