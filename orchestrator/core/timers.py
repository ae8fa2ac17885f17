"""The timers of one saga: set by saga code or by the runtime, fired one at a time by entries, in the order of
(due, number). Nothing here waits.
"""

import heapq
import math
from asyncio import events

_LATEST_S = 10**10  # some 300 years: sleep(inf) must fit into an integer


class SagaTimer(events.TimerHandle):
    """`due_us` and `armed_us` in the saga's time; `seq` as in `decisions.Timer`."""

    number: int
    due_us: int
    armed_us: int
    seq: int | None


class Timers:
    """Cancelled timers leave the table at once and the heap when they come up."""

    __slots__ = ("_heap", "_number", "_set")

    def __init__(self) -> None:
        self._set: dict[int, SagaTimer] = {}
        self._heap: list[tuple[int, int]] = []
        self._number = 0

    def add(self, timer: SagaTimer, *, due_us: int, now_us: int, seq: int | None) -> None:
        self._number += 1
        timer.number, timer.due_us, timer.armed_us, timer.seq = self._number, due_us, now_us, seq
        self._set[timer.number] = timer
        heapq.heappush(self._heap, (due_us, timer.number))

    def drop(self, timer: SagaTimer) -> None:
        """It was cancelled; one that has fired already is no error (asyncio.timeout cancels it then)."""
        self._set.pop(timer.number, None)

    def first(self) -> SagaTimer | None:
        """The one that falls due first."""
        while self._heap:
            timer = self._set.get(self._heap[0][1])
            if timer is not None:
                return timer
            heapq.heappop(self._heap)
        return None

    def in_order(self) -> list[SagaTimer]:
        return sorted(self._set.values(), key=_place)

    def take(self, number: int, now_us: int) -> SagaTimer | str:
        """The timer to fire now, no longer set; or why it can't.

        Timers fire in their order. Only those with a `seq` may be overtaken: the engine holds them back while their
        command has not left (rule 9).
        """
        timer = self._set.get(number)
        if timer is None:
            return "the timer is not set"
        if timer.due_us > now_us:
            return "the timer is not due"
        if timer is not self.first() and any(t.seq is None and _place(t) < _place(timer) for t in self._set.values()):
            return "an earlier timer comes first"
        del self._set[number]
        return timer

    def clear(self) -> None:
        for timer in [*self._set.values()]:
            timer.cancel()  # and lets go of what it would have called
        self._set.clear()
        self._heap.clear()


def microseconds(when_s: float) -> int:
    """The first whole microsecond that is not before `when_s`, also as a float: anyio compares."""
    if math.isnan(when_s):
        raise ValueError("a timer at NaN")
    if when_s > _LATEST_S:
        return _LATEST_S * 1_000_000
    us = int(when_s * 1e6)
    while us / 1e6 < when_s:
        us += 1
    return us


def _place(timer: SagaTimer) -> tuple[int, int]:
    return timer.due_us, timer.number
