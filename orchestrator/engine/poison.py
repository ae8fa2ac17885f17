"""One bad saga must not take its neighbours with it: turns that run too long, values that the database refuses."""

import ctypes
import faulthandler
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import psycopg

from orchestrator import limits
from orchestrator.core.blocked import TurnTooLong
from orchestrator.engine.processing import Work

log = logging.getLogger("orchestrator.engine.poison")

LOOK_EVERY_S = 0.25
POISON_CLASSES = ("22", "23", "54")


class Watchdog:
    """Interrupts a turn that runs too long; if that can't be done, it ends the process.

    Python code is interrupted by an exception in its thread. A C call that holds the GIL lets nobody in: against it
    stands faulthandler's own timer, which needs no GIL, prints where the process hangs, and exits.
    """

    def __init__(self) -> None:
        self._thread_id = 0
        self._turn: tuple[str, float] | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="amends-watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._thread_id = threading.get_ident()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(LOOK_EVERY_S * 4)
        faulthandler.cancel_dump_traceback_later()

    @contextmanager
    def turn(self, saga_id: str) -> Iterator[None]:
        """Around one saga's turn."""
        self._turn = (saga_id, time.monotonic())
        try:
            yield
        except TurnTooLong:
            # It came a moment after the turn had ended: nothing is wrong.
            log.warning("saga %s: the turn ended just when it was to be interrupted", saga_id)
        finally:
            with self._lock:
                self._turn = None

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            # Armed anew while Python runs: it fires only if this thread could not run for so long.
            faulthandler.dump_traceback_later(limits.TURN_SECONDS_DEADLY, exit=True)
            with self._lock:
                turn = self._turn
                if turn is not None and time.monotonic() - turn[1] > limits.TURN_SECONDS_MAX:
                    log.error("saga %s: its turn runs longer than %s s: interrupted", turn[0], limits.TURN_SECONDS_MAX)
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(
                        ctypes.c_ulong(self._thread_id), ctypes.py_object(TurnTooLong)
                    )
                    self._turn = (turn[0], time.monotonic())


def singly(work: list[Work], run_one: Callable[[Work], None], isolate: Callable[[Work, psycopg.Error], None]) -> None:
    """Each item in a transaction of its own; the culprit is isolated, the others have gone on."""
    for one in work:
        try:
            run_one(one)
        except psycopg.Error as error:
            if (error.sqlstate or "")[:2] not in POISON_CLASSES:
                raise
            isolate(one, error)
