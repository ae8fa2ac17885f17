"""When had a command left the outbox? Patience with a call counts from there (rules 2 and 9).

The ack itself leaves no trace: the relay deletes the row.

What is looked at is the oldest row, several times a second: all that was written before it has left. Only the times in
which that lagged are kept; a command that was written in between left when it was written, give or take PROMPT_US.
"""

from collections import deque
from dataclasses import dataclass, field

LOOK_EVERY_US = 200_000
PROMPT_US = 500_000
LAGS_MAX = 4_096  # the oldest are forgotten: a quarter of an hour of looks at a relay that is always late


@dataclass(frozen=True, slots=True)
class _Lag:
    """What was written from `since_us` on and before `until_us` had left at `seen_us`, and perhaps not earlier."""

    since_us: int
    until_us: int
    seen_us: int


@dataclass(slots=True)
class Departures:
    """Pure bookkeeping: who asks Postgres is Patience."""

    _all_left_before_us: int = 0
    _looked_us: int = -LOOK_EVERY_US
    _lags: deque[_Lag] = field(default_factory=lambda: deque(maxlen=LAGS_MAX))

    def is_due(self, now_us: int) -> bool:
        """Whether the outbox is to be looked at again."""
        return now_us - self._looked_us >= LOOK_EVERY_US

    def looked(self, oldest_us: int | None, now_us: int) -> None:
        """At `now_us` the oldest row had been written at `oldest_us`; None: there was none."""
        self._looked_us = now_us
        until_us = now_us if oldest_us is None else min(oldest_us, now_us)
        if until_us <= self._all_left_before_us:
            return
        if now_us - self._all_left_before_us >= PROMPT_US:
            self._lags.append(_Lag(self._all_left_before_us, until_us, now_us))
        self._all_left_before_us = until_us

    def left_us(self, written_us: int) -> int | None:
        """When what was written then had surely left; None: perhaps it has not."""
        if written_us >= self._all_left_before_us:
            return None
        for lag in reversed(self._lags):
            if lag.until_us <= written_us:
                break
            if lag.since_us <= written_us:
                return lag.seen_us
        return written_us
