"""What an orchestrator has done since it began, in plain numbers.

The main loop adds to them once a batch, with no call, lock or label a turn; whoever exports them reads from another
thread, and may see a batch half counted. They are for people: nothing here decides anything.
"""

from bisect import bisect_left
from dataclasses import dataclass, field

from orchestrator.engine.batch import Batch, ShardWrites
from orchestrator.engine.sagas import ENDED

COMMIT_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
FORGED = "forged"  # begins the reason of whatever did not know our secret


@dataclass(slots=True)
class Counts:
    """`commits` counts commits by COMMIT_BOUNDS_S, the last place is for those that took longer."""

    batches: int = 0
    turns: int = 0
    begun: int = 0
    ended: dict[str, int] = field(default_factory=lambda: dict.fromkeys(sorted(ENDED), 0))
    dead_letters: int = 0
    ignored: int = 0
    forged: int = 0
    commits: list[int] = field(default_factory=lambda: [0] * (len(COMMIT_BOUNDS_S) + 1))
    commits_s: float = 0.0

    def committed(self, batch: Batch, seconds: float) -> None:
        """This batch was written, and its transaction took so long."""
        self.batches += 1
        self.commits[bisect_left(COMMIT_BOUNDS_S, seconds)] += 1
        self.commits_s += seconds
        for writes in batch.shards.values():
            self._add(writes)

    def _add(self, writes: ShardWrites) -> None:
        self.turns += len(writes.turns)
        self.dead_letters += len(writes.letters)
        for move in writes.moves.values():
            if move.before == "queued":
                self.begun += 1
            if move.after in ENDED and move.before not in ENDED:
                self.ended[move.after] += 1
        for reason, (count, _) in writes.ignored.items():
            if reason.startswith(FORGED):
                self.forged += count
            else:
                self.ignored += count
