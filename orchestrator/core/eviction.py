"""Closing the coroutines of a saga that leaves memory, also of one whose code answers every exception by going on.

While a saga is evicted each operation raises Evicted. Code like `while True: try: await … except BaseException: pass`
catches that, asks again, and would do so for ever on the one thread that all sagas share. So it is refused a number of
times, and then given something to wait for: it is parked again, and Python says that it ignored its closing.
"""

import ctypes
import logging
from collections.abc import AsyncGenerator, Generator
from contextlib import suppress
from types import coroutine
from typing import Any

from orchestrator.core.blocked import Evicted

log = logging.getLogger("orchestrator.core.eviction")

REFUSALS_MAX = 100  # finally blocks that are left one after the other are refused once each


class Refusals:
    """How often the code of one saga was told that it is being evicted."""

    __slots__ = ("_count",)

    def __init__(self) -> None:
        self._count = 0

    def refuse(self) -> None:
        """Raise Evicted; from some time on return, and the caller gives what never ends."""
        self._count += 1
        if self._count <= REFUSALS_MAX:
            raise Evicted


@coroutine
def parked() -> Generator[None, None, None]:
    """An operation that never ends: its `await` suspends even a coroutine that is being closed."""
    yield


def close(closing: Any) -> None:
    """A coroutine of the saga's. One that answers its closing with an error is gone all the same."""
    try:
        closing.close()
    except RuntimeError as error:
        if "ignored GeneratorExit" in str(error):
            _let_it_be(closing)
    except BaseException:
        return


def end(generator: AsyncGenerator[Any, Any]) -> None:
    """Its `aclose()` has to be begun: to close that, unbegun, would leave the generator to the garbage collector."""
    with suppress(BaseException):  # StopIteration when it is done; Evicted out of its finally block.
        generator.aclose().send(None)


def _let_it_be(closing: Any) -> None:
    """It stays in memory for good: if Python let go of it, it would be closed once more, at any time and on any thread,
    outside of its loop, where its code may run for ever.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(closing))
    code = closing.cr_code
    log.error(
        "%s:%s: %s caught the end of its own coroutine and went on, so it can't be freed: some KB are lost each time. "
        "Catch Exception in place of BaseException, or raise it again",
        code.co_filename,
        code.co_firstlineno,
        code.co_qualname,
    )
