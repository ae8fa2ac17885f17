"""Local steps, after the commit that allowed them: async ones on a loop of their own, sync ones in threads.

At least once, one result: a step whose result was not committed (a crash, a takeover) runs again under the same key. A
result whose commit failed in this process is offered again, not run again (rule 21). A step that timed out in a thread
still runs, so its end is reported only then: no second attempt can begin before.
"""

import asyncio
import inspect
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.core import values
from orchestrator.core.decisions import StartStep
from orchestrator.core.entries import Json
from orchestrator.core.step_context import running_step
from orchestrator.core.steps import STEP_LOST
from orchestrator.engine import step_results
from orchestrator.errors import TimedOut
from orchestrator.problems import Problem, problem_of

log = logging.getLogger("orchestrator.engine.steps")

Lifespan = Callable[[], AbstractAsyncContextManager[object]]

THREADS_MAX = 32
CLOSE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEnd:
    """How a step ended; the worker makes a journal entry of it. `key` is (operation key, attempt)."""

    key: tuple[str, int]
    saga_no: int
    saga_id: str
    shard: int
    seq: int
    attempt: int
    body: Json = None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class _Run:
    key: str  # as the step sees it
    end: StepEnd
    step: StartStep


class StepRunner:
    """Start steps from the main loop; each end is handed to `ended` from another thread."""

    def __init__(
        self, databases: Mapping[str, str], ended: Callable[[StepEnd], None], lifespan: Lifespan | None = None
    ) -> None:
        self._databases, self._ended, self._lifespan = databases, ended, lifespan
        self._opened = AsyncExitStack()
        self._running: set[tuple[str, int]] = set()
        self._unkept: dict[tuple[str, int], StepEnd] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="amends-step")
        self._loop = asyncio.new_event_loop()
        self._begun: deque[_Run] = deque()  # for the loop's thread to begin
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run_loop, name="amends-steps", daemon=True)
        self._thread.start()

    def open(self) -> None:
        """Enter the app's lifespan, on the loop that async steps run on. Raises what it raises."""
        if self._lifespan is not None:
            opening = self._opened.enter_async_context(self._lifespan())
            asyncio.run_coroutine_threadsafe(opening, self._loop).result()

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    @property
    def running(self) -> int:
        """How many have not ended."""
        return len(self._running)

    def start(self, awaited: StepEnd, shown_key: str, step: StartStep) -> None:
        """Run it, unless this very attempt runs already or has a result that nobody has kept yet.

        `awaited` says whose step it is; its body or problem is filled in at the end.
        """
        with self._lock:
            if awaited.key in self._running:
                return
            if (unkept := self._unkept.get(awaited.key)) is not None:
                self._ended(unkept)
                return
            self._running.add(awaited.key)
        run = _Run(shown_key, awaited, step)
        if inspect.iscoroutinefunction(step.function):
            self._begun.append(run)
            if len(self._begun) == 1:
                # The loop is rung once for all that are begun before it looks: a ring costs more than a step does.
                self._loop.call_soon_threadsafe(self._begin_all)
        else:
            self._pool.submit(self._run_sync, run)

    def _begin_all(self) -> None:
        """On the loop. Whoever adds to an empty queue rings: it is emptied to the last one here."""
        while self._begun:
            task = self._loop.create_task(self._run_async(self._begun[0]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            self._begun.popleft()

    def report_lost(self, awaited: StepEnd) -> None:
        """A step that only its undo waits for: if it does not run in this process, nobody will hear of it any more."""
        with self._lock:
            if awaited.key in self._running:
                return
        self._ended(replace(awaited, problem=STEP_LOST))

    def kept(self, key: tuple[str, int]) -> None:
        """The result is in the journal (or nobody waits for it any more)."""
        with self._lock:
            self._unkept.pop(key, None)

    def halt(self) -> None:
        """Run nothing any more, without waiting for what is under way: whoever claims the shard runs it again under its
        key. What runs in a thread can't be stopped.
        """
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CLOSE_S)

    def close(self) -> None:
        """End what was halted, and leave the app's lifespan. Raises what that raises."""
        self.halt()
        if self._thread.is_alive():
            log.warning("an async step blocks the loop of all steps: the app's lifespan is not left")
            return
        for task in self._tasks:
            task.cancel()
        try:
            self._loop.run_until_complete(asyncio.wait_for(self._opened.aclose(), CLOSE_S))
        except TimeoutError:
            log.warning("the app's lifespan did not close within %s s", CLOSE_S)

    def _finish(self, run: _Run, body: Json, problem: Problem | None) -> None:
        if problem is not None and run.step.maybe_ran:
            # The run before this one may have had its effect: whatever this one says, nobody knows (A5).
            problem = replace(problem, effect="unknown")
        end = replace(run.end, body=body, problem=problem)
        with self._lock:
            self._running.discard(end.key)
            self._unkept[end.key] = end
        self._ended(end)

    def _run_sync(self, run: _Run) -> None:
        try:
            body = self._call_sync(run)
        except BaseException as error:  # SystemExit in a step must not leave its saga waiting for ever.
            if not isinstance(error, Exception):
                saga_id = run.end.saga_id
                log.warning("step %s of saga %s raised %r", run.step.name, saga_id, error, extra={"saga_id": saga_id})
            self._finish(run, None, problem_of(error))
        else:
            self._finish(run, body, None)

    def _call_sync(self, run: _Run) -> Json:
        step = run.step
        with running_step(run.key, step.attempt):
            if step.kind != "transaction":
                return _result(step, step.function(*step.args))

            def work(connection: Any) -> Json:
                return _result(step, step.function(connection, *step.args))

            return step_results.run(self._databases[step.database], run.key, work)

    async def _run_async(self, run: _Run) -> None:
        step, body, problem = run.step, None, None
        limit = None if step.timeout_s is None else asyncio.timeout(step.timeout_s)
        try:
            if limit is None:
                body = await self._call_async(run)
            else:
                async with limit:
                    body = await self._call_async(run)
        except BaseException as error:  # As above: whatever it was, the saga hears of it.
            late = isinstance(error, TimeoutError) and limit is not None and limit.expired()
            problem = problem_of(TimedOut(f"no result in {step.timeout_s} s") if late else error)
        self._finish(run, body, problem)

    async def _call_async(self, run: _Run) -> Json:
        step = run.step
        with running_step(run.key, step.attempt):
            if step.kind != "transaction":
                return _result(step, await step.function(*step.args))

            async def work(connection: Any) -> Json:
                return _result(step, await step.function(connection, *step.args))

            return await step_results.run_async(self._databases[step.database], run.key, work)


def _result(step: StartStep, result: object) -> Json:
    """What is kept of a step; of an undo only that it ended."""
    return None if step.undo_of is not None else values.result_json(step.function, result)
