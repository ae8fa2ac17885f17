"""Steps a second, forward and back, by the services' own rows and their times: a step counts when it is in a book.

Each row is known by its key, so one that is read twice counts once, and what comes late is still counted until its
second is told.
"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from services.floor.limits import PACE_DELAY_S, PACE_POINTS_MAX

Direction = Literal["forward", "back"]


class Pace:
    """The last minute. Not for several threads."""

    def __init__(self) -> None:
        self._steps: dict[int, dict[Direction, set[str]]] = defaultdict(lambda: {"forward": set(), "back": set()})

    def step(self, direction: Direction, key: str, at: datetime | None) -> None:
        """A row of a book: what it did is known by `key`. None: it has not happened."""
        if at is not None:
            self._steps[int(at.timestamp())][direction].add(key)

    def points(self, now_s: float) -> list[Mapping[str, Any]]:
        """One for each second of the last minute that is over; what is older is forgotten."""
        last = int(now_s) - PACE_DELAY_S
        first = last - PACE_POINTS_MAX + 1
        for second in [one for one in self._steps if one < first]:
            del self._steps[second]
        return [self._point(second) for second in range(first, last + 1)]

    def _point(self, second: int) -> Mapping[str, Any]:
        steps = self._steps.get(second, {})
        at = datetime.fromtimestamp(second, UTC).isoformat()
        return {"at": at, "forward": len(steps.get("forward", ())), "back": len(steps.get("back", ()))}
