"""One bad saga must not take its neighbours with it: turns that run too long, values that the database refuses."""

import ctypes
import faulthandler
import gc
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
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

    Python code is interrupted by an exception in its thread; code that catches it again and again ends the process.
    A C call that holds the GIL lets nobody in: against it stands a timer of the kernel, whose signal prints where every
    thread is and then kills. Neither measures by the wall clock: a process that was stopped for a while, or had to wait
    for a CPU, has not worked for too long. Nor has the saga in whose turn Python collects what thousands of others have
    left, which takes seconds where much is parked.
    """

    def __init__(self, mark: Callable[[str], None]) -> None:
        """`mark` is called with the saga's id before its turn is interrupted: the turn must not count any more."""
        self._mark = mark
        self._thread_id = 0
        self._turn: str | None = None
        self._turns = 0
        self._collects_since_s: float | None = None
        self._collected_s = 0.0
        self._lock = threading.Lock()
        self._around = _AroundTurn(self)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="amends-watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._thread_id = threading.get_ident()
        # The handler is faulthandler's: written in C, it needs no GIL. `chain` lets the signal's default follow: death.
        faulthandler.register(signal.SIGPROF, chain=True)
        # Armed before the first turn: the thread may not get to run any more once that has begun.
        self._arm()
        gc.callbacks.append(self._collects)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        gc.callbacks.remove(self._collects)
        self._thread.join(LOOK_EVERY_S * 4)
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.unregister(signal.SIGPROF)

    def turn(self, saga_id: str) -> AbstractContextManager[None]:
        """Around one saga's turn."""
        self._turns += 1
        self._turn = saga_id
        return self._around

    def _turn_ended(self) -> None:
        with self._lock:
            self._turn = None

    def _watch(self) -> None:
        seen, looks, interrupted = 0, 0, 0
        while not self._stop.wait(LOOK_EVERY_S):
            self._arm()
            with self._lock:
                if self._turn is None or self._turns != seen:
                    looks, interrupted, seen = 0, 0, self._turns
                    continue
                looks += self._collects_since_s is None
                if looks * LOOK_EVERY_S >= limits.TURN_SECONDS_DEADLY:
                    self._end_process(self._turn)
                elif looks * LOOK_EVERY_S >= limits.TURN_SECONDS_MAX * (interrupted + 1):
                    self._interrupt(self._turn)
                    interrupted += 1

    def clock(self) -> float:
        """Seconds by the wall clock, but for those in which Python collected garbage: they are nobody's turn."""
        return time.perf_counter() - self._collected_s

    def _collects(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._collects_since_s = time.perf_counter()
        elif self._collects_since_s is not None:
            self._collected_s += time.perf_counter() - self._collects_since_s
            self._collects_since_s = None

    def _arm(self) -> None:
        """The timer counts the CPU seconds of this process, and is set back as long as Python gets to run."""
        signal.setitimer(signal.ITIMER_PROF, limits.TURN_SECONDS_DEADLY)

    def _end_process(self, saga_id: str) -> None:
        """By the signal of `_arm`: whoever claims our shards next looks for the saga whose turn it was."""
        log.critical(
            "saga %s: its turn runs longer than %s s and catches the exceptions that should end it (does it catch "
            "BaseException?): this process ends, since nothing else ends such a turn",
            saga_id,
            limits.TURN_SECONDS_DEADLY,
        )
        os.kill(os.getpid(), signal.SIGPROF)

    def _interrupt(self, saga_id: str) -> None:
        text = "saga %s: its turn runs longer than %s s: interrupted"
        log.error(text, saga_id, limits.TURN_SECONDS_MAX, extra={"saga_id": saga_id})
        self._mark(saga_id)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread_id), ctypes.py_object(TurnTooLong))


class _AroundTurn:
    """One for all turns, which come one after the other: to make one each time was a twentieth of a turn."""

    __slots__ = ("_watchdog",)

    def __init__(self, watchdog: Watchdog) -> None:
        self._watchdog = watchdog

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        saga_id = self._watchdog._turn
        self._watchdog._turn_ended()
        if kind is None or not issubclass(kind, TurnTooLong):
            return False
        # It came a moment after the turn had ended: nothing is wrong.
        text = "saga %s: the turn ended just when it was to be interrupted"
        log.warning(text, saga_id, extra={"saga_id": saga_id})
        return True


def singly(work: list[Work], run_one: Callable[[Work], None], isolate: Callable[[Work, psycopg.Error], None]) -> None:
    """Each item in a transaction of its own; the culprit is isolated, the others have gone on."""
    for one in work:
        try:
            run_one(one)
        except psycopg.Error as error:
            if (error.sqlstate or "")[:2] not in POISON_CLASSES:
                raise
            isolate(one, error)
