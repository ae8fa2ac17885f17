"""Turns that hold everybody up: said in the log, with the saga's id and type, and not a thousand times."""

import logging
import time

from orchestrator import limits
from orchestrator.engine.cache import Cache

log = logging.getLogger("orchestrator.engine.slow_turns")

SAY_EVERY_S = 10.0


class SlowTurns:
    """By the watchdog's clock: a turn that waits in a blocking call is as slow for the others as one that computes."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._said_s = -SAY_EVERY_S
        self._unsaid = 0

    def took(self, saga_id: str | None, seconds: float) -> None:
        """One saga's turn has ended after so long."""
        if seconds < limits.TURN_SECONDS_WARN or saga_id is None:
            return
        if time.monotonic() - self._said_s < SAY_EVERY_S:
            self._unsaid += 1
            return
        resident = self._cache.get(saga_id)
        log.warning(
            "saga %s (%s): a turn took %.3f s, and everybody else waited. Does its code compute, or block? Put that "
            "into a step. (%s more slow turns were not said.)",
            saga_id,
            "of a type unknown" if resident is None else resident.row.type,
            seconds,
            self._unsaid,
            extra={"saga_id": saga_id},
        )
        self._said_s, self._unsaid = time.monotonic(), 0
