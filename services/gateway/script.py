"""How the gateway misbehaves: what each test card does, and what each phase does to everybody.

Times come from the key, not from a generator: the same request takes the same time in each run.
"""

import zlib
from dataclasses import dataclass, replace
from typing import Literal

Phase = Literal["normal", "slow", "down", "loses"]
Trick = Literal["none", "decline", "lose answer", "answer late", "dispute"]

# Test cards, as gateways give them to their customers. Any other card is charged.
CARDS: dict[str, Trick] = {
    "4000-0000-0000-0002": "decline",
    "4000-0000-0000-0119": "lose answer",
    "4000-0000-0000-0259": "answer late",
    "4000-0000-0000-2685": "dispute",  # a payment's only: paid, and at once disputed by the card's bank
}

LATE_ANSWER_S = 6.0  # twice what a client waits


@dataclass(frozen=True, slots=True)
class Pace:
    """An answer takes between these two, in seconds. What is asked is done halfway."""

    fastest_s: float
    slowest_s: float

    def of(self, key: str) -> float:
        """The time for this key."""
        return self.fastest_s + (self.slowest_s - self.fastest_s) * (zlib.crc32(key.encode()) % 1000) / 999


PACES: dict[Phase, Pace] = {
    "normal": Pace(0.3, 1.0),
    "slow": Pace(1.5, 3.5),  # a client that waits 3 s loses one answer in four
    "down": Pace(0.0, 0.1),
    "loses": Pace(0.3, 1.0),
}


@dataclass(frozen=True, slots=True)
class Restart:
    """It is down, and comes up by itself at `well_at_s` (since the epoch), if it is left in peace.

    Each request that it has to turn away before costs it `distraction_s` of its restart: caches, logins and connections
    have to wait for it. So a storm of requests keeps down what it wants an answer from.
    """

    well_at_s: float
    distraction_s: float = 0.0

    def distracted(self) -> "Restart":
        """One more request had to be turned away."""
        return replace(self, well_at_s=self.well_at_s + self.distraction_s)


def trick_of(card: str, times_asked: int) -> Trick:
    """What this card does now: a lost or late answer happens to the first request for an order only."""
    trick = CARDS.get(card, "none")
    return trick if trick in ("decline", "dispute") or times_asked == 1 else "none"


def hangs_up(key: str, times_tried: int) -> bool:
    """While it is down, half of the requests are turned away with a 503, half find the connection closed."""
    return (zlib.crc32(key.encode()) + times_tried) % 2 == 0


def loses(kind: str, times_tried: int) -> bool:
    """Whether an answer is lost while the gateway loses them: every second one under a key, but no lookup's."""
    return kind != "lookup" and times_tried % 2 == 1
