"""Wait for a state, never for a time: ask again until it is there, and fail with its name if it does not come.

AMENDS_TEST_SLOWNESS (default 1) stretches every deadline, for machines that are slow or busy. It never shortens a test
that passes, so be generous with the seconds.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

POLL_S = 0.02
T = TypeVar("T")


def deadline(seconds: float) -> float:
    """Return the seconds, stretched for this machine."""
    return seconds * float(os.environ.get("AMENDS_TEST_SLOWNESS", "1"))


def eventually(ask: Callable[[], T | None], seconds: float, what: str) -> T:
    """Ask until the answer is neither None nor false, and return it; fail after the deadline."""
    end_s = time.monotonic() + deadline(seconds)
    while not (answer := ask()):
        if time.monotonic() > end_s:
            raise AssertionError(f"{what}: not within {deadline(seconds):.1f} s; the last answer was {answer!r}")
        time.sleep(POLL_S)
    return answer


async def eventually_async(ask: Callable[[], Awaitable[T | None]], seconds: float, what: str) -> T:
    """Like `eventually`, for an answer that has to be awaited."""
    end_s = time.monotonic() + deadline(seconds)
    while not (answer := await ask()):
        if time.monotonic() > end_s:
            raise AssertionError(f"{what}: not within {deadline(seconds):.1f} s; the last answer was {answer!r}")
        await asyncio.sleep(POLL_S)
    return answer
