"""Waiting in tasks that may be cancelled.

`asyncio.wait_for` of Python 3.11 can swallow a cancellation, and so may a driver that tidies up; a task that lost one
would run for ever.
"""

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import Any

CANCEL_AGAIN_S = 0.5


async def set_or_later(event: asyncio.Event, seconds: float) -> None:
    """Return when the event is set, or after so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


async def all_ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel them until they have ended, however often that takes."""
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)


class Patience:
    """`with patience(seconds):` is asyncio.timeout for many short awaits in a row: its timer is seldom moved.

    One await at a time, whatever task it is in. The timer is set at the first and looks, when it rings, whether the one
    that goes on now has had its time; so an await that ends soon costs two looks at the clock.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Any] | None = None  # whose await goes on
        self._ends_s = 0.0
        self._cancelled_before = 0
        self._is_over = False

    def __call__(self, seconds: float) -> "Patience":
        loop = asyncio.get_running_loop()
        self._ends_s = loop.time() + seconds
        if self._loop is not loop or self._timer is None or self._timer.when() > self._ends_s:
            self._set_timer(loop)
        return self

    def __enter__(self) -> None:
        self._is_over = False
        self._task = asyncio.current_task()
        assert self._task is not None, "a handler runs in a task"
        self._cancelled_before = self._task.cancelling()

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        assert task is not None
        if self._is_over and task.uncancel() <= self._cancelled_before and exc_type is asyncio.CancelledError:
            raise TimeoutError from error

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._loop, self._timer = loop, loop.call_at(self._ends_s, self._rings)

    def _rings(self) -> None:
        self._timer = None
        if self._task is None or self._is_over:
            return
        assert self._loop is not None
        if self._loop.time() < self._ends_s:
            self._set_timer(self._loop)
            return
        self._is_over = True
        self._task.cancel()
