"""The timers of one saga: set by saga code or by the runtime, fired one at a time by entries, in the order of
(due, number). Nothing here waits.
"""

import heapq
import math
from asyncio import events
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.core.loop import SagaLoop

_LATEST_S = 10**10  # some 300 years: sleep(inf) must fit into an integer


class SagaTimer(events.TimerHandle):
    """Set by saga code. `due_us` and `armed_us` in the saga's time; `seq` as in `decisions.Timer`."""

    number: int
    due_us: int
    armed_us: int
    seq: int | None


class RuntimeTimer:
    """Set by the runtime, for nearly every operation: what `SagaTimer` is, without what asyncio wants of a handle."""

    __slots__ = ("_callback", "_loop", "armed_us", "due_us", "number", "seq")

    number: int
    due_us: int
    armed_us: int
    seq: int | None

    def __init__(self, loop: "SagaLoop", callback: Callable[[], object]) -> None:
        self._loop = loop
        self._callback: Callable[[], object] | None = callback

    def cancelled(self) -> bool:
        return self._callback is None

    def cancel(self) -> None:
        if self._callback is not None:
            self._callback = None
            self._loop.timers.drop(self)

    def _run(self) -> None:
        assert self._callback is not None
        try:
            self._callback()
        except Exception as error:
            self._loop.call_exception_handler({"exception": error, "handle": self})


AnyTimer = SagaTimer | RuntimeTimer


class Timers:
    """Cancelled timers leave the table at once and the heap when they come up."""

    __slots__ = ("_heap", "_number", "_set")

    def __init__(self) -> None:
        self._set: dict[int, AnyTimer] = {}
        self._heap: list[tuple[int, int]] = []
        self._number = 0

    def add(self, timer: AnyTimer, *, due_us: int, now_us: int, seq: int | None) -> None:
        self._number += 1
        timer.number, timer.due_us, timer.armed_us, timer.seq = self._number, due_us, now_us, seq
        self._set[timer.number] = timer
        heapq.heappush(self._heap, (due_us, timer.number))

    def drop(self, timer: AnyTimer) -> None:
        """It was cancelled; one that has fired already is no error (asyncio.timeout cancels it then)."""
        self._set.pop(timer.number, None)

    def first(self) -> AnyTimer | None:
        """The one that falls due first."""
        while self._heap:
            timer = self._set.get(self._heap[0][1])
            if timer is not None:
                return timer
            heapq.heappop(self._heap)
        return None

    def in_order(self) -> list[AnyTimer]:
        return sorted(self._set.values(), key=_place)

    def take(self, number: int, now_us: int) -> AnyTimer | str:
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


def _place(timer: AnyTimer) -> tuple[int, int]:
    return timer.due_us, timer.number
