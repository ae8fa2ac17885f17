"""What a run did, from the gateway's own book and nothing else. The book is SQLite, money in it is in cents."""

import sqlite3
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import floor
from pathlib import Path

from services.rm45.runs import Run

ATTEMPTS = "SELECT began_at, phase, answer FROM attempts WHERE order_id LIKE ? ORDER BY began_at"
CHARGES = "SELECT order_id, cents FROM charges WHERE order_id LIKE ?"
PHASES = "SELECT phase, at FROM phases WHERE at BETWEEN ? AND ? ORDER BY at"


@dataclass(frozen=True, slots=True)
class Sums:
    """One run in the gateway's book. `requests` counts lookups too, `worst_second_down` those of one second.

    `per_second`: second -> requests in it; second 0 begins when the gateway went down, or with the first request.
    `down_s`: None if it was not down; if it was never `well_again`, until the last request.
    """

    requests: int
    answers_lost: int
    charges: int
    cents: int
    orders_charged: int
    requests_while_down: int
    worst_second_down: int
    down_s: float | None
    well_again: bool
    per_second: Mapping[int, int]

    @property
    def worst_second(self) -> int:
        """The most requests in one second, down or not."""
        return max(self.per_second.values(), default=0)

    @property
    def down_per_s(self) -> float | None:
        """Requests a second while it was down."""
        return None if not self.down_s else self.requests_while_down / self.down_s


def read(book: Path, run: Run) -> Sums:
    """The sums of the run's orders."""
    mine = (f"{run.name}-%",)
    connection = sqlite3.connect(f"file:{book}?mode=ro", uri=True)
    try:
        attempts = connection.execute(ATTEMPTS, mine).fetchall()
        charges = connection.execute(CHARGES, mine).fetchall()
        times = [began_at for began_at, _, _ in attempts]
        phases = connection.execute(PHASES, (times[0], times[-1])).fetchall() if times else []
    finally:
        connection.close()
    down_at = next((at for phase, at in phases if phase == "down"), None)
    well_at = next((at for phase, at in phases if phase == "normal" and down_at is not None and at > down_at), None)
    up_at = well_at if well_at is not None else max(times, default=0.0)
    began_at = down_at if down_at is not None else min(times, default=0.0)
    down = Counter(floor(at - began_at) for at, phase, _ in attempts if phase == "down")
    return Sums(
        requests=len(attempts),
        answers_lost=sum(answer == "lost" for _, _, answer in attempts),
        charges=len(charges),
        cents=sum(cents for _, cents in charges),
        orders_charged=len({order_id for order_id, _ in charges}),
        requests_while_down=down.total(),
        worst_second_down=max(down.values(), default=0),
        down_s=None if down_at is None else up_at - down_at,
        well_again=well_at is not None,
        per_second=Counter(floor(at - began_at) for at in times),
    )
