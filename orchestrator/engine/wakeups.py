"""When each saga wants to be woken: a heap in memory, built from the journal at each claim. No table of timers.

A due timer is only a candidate. It enters a batch when (rule 9) its shard has been read up to the end offset observed
after it fell due, the outbox is healthy, and its command has left the outbox. Otherwise it is put off, never dropped.
Patience with a call counts from when the command could have been answered: not before the claim, not before the outbox
was healthy again.
"""

import heapq
from dataclasses import dataclass

from orchestrator.core.decisions import Timer

PUT_OFF_US = 200_000
STALE_MAX = 10_000  # entries of the heap that nobody waits for any more


@dataclass(frozen=True, slots=True)
class Wakeup:
    saga_no: int
    saga_id: str
    shard: int
    due_us: int


@dataclass(frozen=True, slots=True)
class DueTimer:
    """A timer that may fire now. A message of the same batch may still cancel it: then the core ignores it."""

    saga_no: int
    saga_id: str
    shard: int
    timer: int


class Wakeups:
    """At most one wake-up a saga: its next timer."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int]] = []
        self._current: dict[int, Wakeup] = {}

    def __len__(self) -> int:
        return len(self._current)

    def set(self, saga_no: int, saga_id: str, shard: int, due_us: int | None) -> None:
        """The saga's next wake-up from now on; None: it waits for others only."""
        if due_us is None:
            self._current.pop(saga_no, None)
            return
        known = self._current.get(saga_no)
        if known is not None and known.due_us == due_us:
            return
        self._current[saga_no] = Wakeup(saga_no, saga_id, shard, due_us)
        heapq.heappush(self._heap, (due_us, saga_no))
        if len(self._heap) > 2 * len(self._current) + STALE_MAX:
            # Calls that were answered leave theirs behind, at a minute's distance and thousands a second.
            self._heap = [(wakeup.due_us, wakeup.saga_no) for wakeup in self._current.values()]
            heapq.heapify(self._heap)

    def forget_shard(self, shard: int) -> None:
        """The shard is not ours any more."""
        for saga_no in [n for n, wakeup in self._current.items() if wakeup.shard == shard]:
            del self._current[saga_no]

    def next_us(self) -> int | None:
        """When the earliest is due."""
        self._drop_stale()
        return self._heap[0][0] if self._heap else None

    def due(self, now_us: int, limit: int) -> list[Wakeup]:
        """Take those that are due, the earliest first. Who does not fire one must `set` it again."""
        taken: list[Wakeup] = []
        while len(taken) < limit:
            self._drop_stale()
            if not self._heap or self._heap[0][0] > now_us:
                return taken
            _, saga_no = heapq.heappop(self._heap)
            taken.append(self._current.pop(saga_no))
        return taken

    def _drop_stale(self) -> None:
        heap, current = self._heap, self._current
        while heap and ((known := current.get(heap[0][1])) is None or known.due_us != heap[0][0]):
            heapq.heappop(heap)


def patient_due_us(timer: Timer, floor_us: int) -> int:
    """When a timer really falls due. One that measures patience with a call starts again at `floor_us`: the latest of
    the claim, the last moment at which the outbox was not healthy, and the one at which its command had left it.
    """
    if timer.seq is None or timer.armed_us >= floor_us:
        return timer.due_us
    return floor_us + (timer.due_us - timer.armed_us)
