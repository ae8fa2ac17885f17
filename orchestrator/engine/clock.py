"""The database's time, without asking for it each time: one sample, carried on by the monotonic clock.

All workers measure by the same clock, and nobody's wall clock matters: set back by an hour, it moves no timer. Where it
is the database's own that is set back, who is at work goes on from where it was: its monotonic clock knows better.
"""

import logging
import time
from typing import Any, LiteralString

import psycopg

_NOW: LiteralString = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

log = logging.getLogger("orchestrator.engine.clock")

SAMPLE_EVERY_S = 5.0
SET_BACK_US = 1_000_000  # more than answers differ, and less than a timer that is late hurts
LOOKS_MAX = 3  # a sample; of slow answers the quickest is the nearest to the truth
QUICK_S = 0.002
VAGUE_S = SET_BACK_US / 1e6 / 2  # an answer that took longer could be taken for a clock that was set


class DatabaseClock:
    """Microseconds since the epoch, never running backwards."""

    def __init__(self) -> None:
        self._offset_us: int | None = None  # of the database's clock, as it said last
        self._lead_us = 0
        self._sampled_at = -SAMPLE_EVERY_S
        self._latest_us = 0

    def sample(self, connection: psycopg.Connection[Any]) -> None:
        """Look at the database's clock, unless that was done a moment ago."""
        if time.monotonic() - self._sampled_at < SAMPLE_EVERY_S:
            return
        quickest_s, offset_us = float("inf"), 0
        for _ in range(LOOKS_MAX):
            began_s = time.monotonic()
            row = connection.execute(_NOW).fetchone()
            assert row is not None
            ended_s = time.monotonic()
            if ended_s - began_s < quickest_s:
                quickest_s = ended_s - began_s
                # From somewhere between the two looks: the middle is off by half a round trip at most.
                offset_us = int(row[0]) - int((began_s + ended_s) / 2 * 1e6)
            if quickest_s <= QUICK_S:
                break
        self._sampled_at = time.monotonic()
        if self._offset_us is None or quickest_s <= VAGUE_S:
            self._follow(offset_us)

    def _follow(self, offset_us: int) -> None:
        """A clock that was set back and is put right again takes its lead back."""
        moved_us = 0 if self._offset_us is None else offset_us - self._offset_us
        self._offset_us = offset_us
        if moved_us < -SET_BACK_US:
            self._lead_us -= moved_us
            log.error(
                "the database's clock was set back by %.1f s: timers go on by what it said before. A process that "
                "starts now knows only the new time, and would fire older timers so much later: set the clock right",
                -moved_us / 1e6,
            )
        elif moved_us > SET_BACK_US:
            self._lead_us = max(0, self._lead_us - moved_us)

    def lead_us(self) -> int:
        """How much the database's clock was set back while we watched: its stamps are so much older than ours."""
        return self._lead_us

    def now_us(self) -> int:
        """The time for an entry: microseconds since the epoch."""
        now_us = int(time.monotonic() * 1e6) + (self._offset_us or 0) + self._lead_us
        self._latest_us = max(self._latest_us, now_us)
        return self._latest_us
