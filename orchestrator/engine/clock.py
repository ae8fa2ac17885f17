"""The database's time, without asking for it each time: one sample, carried on by the monotonic clock.

All workers measure by the same clock, and nobody's wall clock matters: set back by an hour, it moves no timer.
"""

import time
from typing import Any, LiteralString

import psycopg

_NOW: LiteralString = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

SAMPLE_EVERY_S = 5.0


class DatabaseClock:
    """Microseconds since the epoch, never running backwards."""

    def __init__(self) -> None:
        self._offset_us = 0
        self._sampled_at = -SAMPLE_EVERY_S
        self._latest_us = 0

    def sample(self, connection: psycopg.Connection[Any]) -> None:
        """Look at the database's clock, unless that was done a moment ago."""
        began = time.monotonic()
        if began - self._sampled_at < SAMPLE_EVERY_S:
            return
        row = connection.execute(_NOW).fetchone()
        assert row is not None
        ended = time.monotonic()
        # The answer is from somewhere between the two looks: the middle is off by half a round trip at most.
        self._offset_us = int(row[0]) - int((began + ended) / 2 * 1e6)
        self._sampled_at = ended

    def now_us(self) -> int:
        """The time for an entry: microseconds since the epoch."""
        self._latest_us = max(self._latest_us, int(time.monotonic() * 1e6) + self._offset_us)
        return self._latest_us
