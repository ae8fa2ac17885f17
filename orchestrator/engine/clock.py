"""The database's time, without asking for it each time: one sample, carried on by the monotonic clock.

All workers measure by the same clock, and nobody's wall clock matters: set back by an hour, it moves no timer.
"""

import time
from typing import Any, LiteralString

import psycopg

_NOW: LiteralString = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

SAMPLE_EVERY_S = 5.0
LOOKS_MAX = 3  # a sample; of slow answers the quickest is the nearest to the truth
QUICK_S = 0.002


class DatabaseClock:
    """Microseconds since the epoch, never running backwards."""

    def __init__(self) -> None:
        self._offset_us = 0
        self._sampled_at = -SAMPLE_EVERY_S
        self._latest_us = 0

    def sample(self, connection: psycopg.Connection[Any]) -> None:
        """Look at the database's clock, unless that was done a moment ago."""
        if time.monotonic() - self._sampled_at < SAMPLE_EVERY_S:
            return
        quickest_s = float("inf")
        for _ in range(LOOKS_MAX):
            began_s = time.monotonic()
            row = connection.execute(_NOW).fetchone()
            assert row is not None
            ended_s = time.monotonic()
            if ended_s - began_s < quickest_s:
                quickest_s = ended_s - began_s
                # From somewhere between the two looks: the middle is off by half a round trip at most.
                self._offset_us = int(row[0]) - int((began_s + ended_s) / 2 * 1e6)
            if quickest_s <= QUICK_S:
                break
        self._sampled_at = time.monotonic()

    def now_us(self) -> int:
        """The time for an entry: microseconds since the epoch."""
        self._latest_us = max(self._latest_us, int(time.monotonic() * 1e6) + self._offset_us)
        return self._latest_us
