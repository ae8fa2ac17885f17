"""How often one caller may ask: a bucket of tokens that fills up again with time."""

import math
import time
from collections.abc import Callable

from orchestrator.api import limits


class Bucket:
    """Full of `burst` at first; each request takes one, and `per_s` come back. Not for several threads."""

    def __init__(self, burst: int, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = float(burst)
        self._per_s = per_s
        self._clock = clock
        self._left = self._burst
        self._at_s = clock()

    def take(self) -> int | None:
        """None: go ahead. Else so many seconds, at least one, until there is something in it again."""
        now_s = self._clock()
        self._left = min(self._burst, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._left >= 1:
            self._left -= 1
            return None
        return max(1, math.ceil((1 - self._left) / self._per_s))


class Buckets:
    """One for each name that is known, and one for all whose name is not: a guesser can't fill the memory."""

    def __init__(self) -> None:
        self._by_name: dict[str, Bucket] = {}

    def take(self, name: str) -> int | None:
        """As `Bucket.take`."""
        bucket = self._by_name.get(name)
        if bucket is None:
            bucket = self._by_name[name] = Bucket(limits.BURST_MAX, limits.RATE_PER_S)
        return bucket.take()
