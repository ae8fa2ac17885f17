"""Waiting in tasks that may be cancelled.

`asyncio.wait_for` of Python 3.11 can swallow a cancellation, and so may a driver that tidies up; a task that lost one
would run for ever.
"""

import asyncio
from collections.abc import Iterable
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
