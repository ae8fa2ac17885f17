"""A run that starts processes of its own: Ctrl-C ends it in order, and its exit code says nothing that is not so."""

import asyncio
import traceback
from collections.abc import Coroutine
from typing import Any

from orchestrator.errors import AmendsError
from orchestrator.local.keeper import on_stop_signals

EXIT_BROKEN, EXIT_INTERRUPTED = 2, 130


async def interruptible(work: Coroutine[Any, Any, int], what: str, hint: str = "") -> int:
    """Await `work` as a task that Ctrl-C cancels, so that its children are ended; return its exit code.

    `what` is its name for people, `hint` what they are told when it did not come to its end.
    """
    task = asyncio.create_task(work)
    on_stop_signals(asyncio.get_running_loop(), lambda: _stop(task))
    try:
        return await task
    except asyncio.CancelledError:
        _say(f"stopped; nothing is left running{hint}")
        return EXIT_INTERRUPTED
    except (AmendsError, RuntimeError) as error:
        _say(f"{what} broke off: {error}{hint}")
        return EXIT_BROKEN
    except Exception:
        # Python's own exit code for this is 1, which says here that something was lost.
        traceback.print_exc()
        return EXIT_BROKEN


def _stop(task: "asyncio.Task[int]") -> None:
    task.cancel()


def _say(line: str) -> None:
    print(line, flush=True)
