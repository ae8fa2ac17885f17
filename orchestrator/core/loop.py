"""The deterministic event loop under a saga: plain asyncio (gather, timeout, TaskGroup, Queue ...) and anyio run on it.

It has no clock and waits for nothing. Time is set by whoever feeds entries, and a timer fires when its entry comes.
`run` calls what is ready until nothing is: that is one turn. Three things differ from asyncio's own loops, each
because a replay would go another way otherwise (rule 17):

- tasks and futures hash by a counter, so that sets of them iterate in the order of creation, not by address (`tasks`);
- tasks are held until they end, so that the garbage collector never runs code of a saga;
- everything that reaches outside (threads, sockets, processes) is refused with what to write instead.
"""

import asyncio
import sys
from asyncio import events, futures
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextvars import Context, copy_context
from threading import get_ident
from typing import TYPE_CHECKING, Any, NoReturn, cast
from zlib import crc32

from orchestrator import limits
from orchestrator.core.blocked import Evicted, author_line, blocked
from orchestrator.core.eviction import Refusals, close, end, parked
from orchestrator.core.ids import SagaIdentity
from orchestrator.core.tasks import SagaFuture, SagaTask, ShieldedFuture
from orchestrator.core.timers import AnyTimer, RuntimeTimer, SagaTimer, Timers, microseconds
from orchestrator.errors import Misuse

_NUMBER_BITS = 24  # tasks and futures of one saga in memory that can be told apart from those of others

if TYPE_CHECKING:
    # For a type checker the methods that are refused below, in a loop over their names, would be missing.
    _AbstractLoop = Any
else:
    _AbstractLoop = asyncio.AbstractEventLoop


Outer = tuple[Any, Any]  # the loop that ran in this thread before, and its hooks for asynchronous generators


class SagaLoop(_AbstractLoop):  # type: ignore[misc]  # see above
    __slots__ = (
        "_hash",
        "_ready",
        "_refusals",
        "_retries",
        "_system_tasks",
        "_tasks_after_pruning",
        "broken",
        "errors",
        "evicted",
        "generators",
        "hashes_from",
        "identity",
        "now_us",
        "replaying",
        "start_us",
        "tasks",
        "thread",
        "timer_noted",
        "timers",
    )

    def __init__(self, saga_uid: str, identity: SagaIdentity | None = None) -> None:
        self.hashes_from = crc32(saga_uid.encode()) << _NUMBER_BITS
        self.identity = identity  # whose loop it is, for log lines: whoever writes one finds the running loop
        self.replaying = False  # the past is repeated: it was said already
        self.start_us = 0
        self.now_us = 0
        self.thread: int | None = None  # that is in the saga: asking asyncio for the running loop costs a system call
        self.evicted = False
        self._refusals = Refusals()
        self.broken: Exception | None = None  # what blocks this saga, even if its code caught it
        self.tasks: list[SagaTask] = []
        self.timers = Timers()
        self.errors: list[BaseException] = []  # out of callbacks that nobody awaits
        self.generators: list[AsyncGenerator[Any, Any]] = []
        self.timer_noted: Callable[[float, bool], None] | None = None  # told of each timer that saga code sets
        self._system_tasks: list[SagaTask] = []
        self._ready: list[events.Handle | RuntimeTimer] = []
        self._retries: list[events.Handle | RuntimeTimer] = []
        self._hash = self.hashes_from
        self._tasks_after_pruning = 0

    # ---- what asyncio asks of a loop -----------------------------------------------------------------------------

    def time(self) -> float:
        """Seconds since the saga's start, in its own time."""
        return (self.now_us - self.start_us) / 1e6

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> events.Handle:
        handle = events.Handle(callback, args, self, context)
        if self.evicted:
            return handle
        if getattr(callback, "__name__", "") == "_deliver_cancellation":
            self._retries.append(handle)  # anyio's: it would call itself for ever, see run()
        else:
            self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> SagaTimer:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> SagaTimer:
        if self.evicted:
            self._refusals.refuse()
            return SagaTimer(when, callback, args, self, context)
        if self.timer_noted is not None:
            is_sleep = getattr(callback, "__name__", "") == "_set_result_unless_cancelled"
            self.timer_noted(when - self.time(), is_sleep)
        due_us = self.start_us + microseconds(when)
        timer = SagaTimer(due_us / 1e6, callback, args, self, context)
        self.timers.add(timer, due_us=due_us, now_us=self.now_us, seq=None)
        return timer

    def create_future(self) -> SagaFuture:
        if self.evicted:
            self._refusals.refuse()
        return SagaFuture(loop=self)

    def create_task(
        self,
        coro: Any,
        *,
        name: str | None = None,
        context: Context | None = None,
        **_: Any,  # eager_start (3.14) changes the order in which things run: not offered
    ) -> SagaTask:
        if self.evicted:
            close(coro)
            return cast("SagaTask", self.create_future())
        self._refuse_as_completed(coro)
        task = SagaTask(coro, loop=self, name=name, context=context if context is not None else copy_context())
        self.tasks.append(task)
        return task

    def get_debug(self) -> bool:
        return False

    def get_task_factory(self) -> None:
        """None, for anyio asks."""
        return

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """An error in a callback fails the saga at its end. What finalizers tell comes at any time: not for us."""
        error = context.get("exception")
        if "handle" in context and error is not None and not self.evicted:
            self.errors.append(error)

    def _timer_handle_cancelled(self, handle: events.TimerHandle) -> None:
        if isinstance(handle, SagaTimer):
            self.timers.drop(handle)

    # ---- for the runtime -----------------------------------------------------------------------------------------

    def next_hash(self) -> int:
        self._hash += 1
        return self._hash

    def arm(self, due_us: int, callback: Callable[[], object], *, seq: int | None = None) -> RuntimeTimer:
        """A timer of the runtime's own, at a time of the saga; `seq` names the operation whose patience it measures."""
        timer = RuntimeTimer(self, callback)
        self.timers.add(timer, due_us=due_us, now_us=self.now_us, seq=seq)
        return timer

    def system_task(self, coro: Coroutine[Any, Any, Any]) -> SagaTask:
        """A task of the runtime: it is not cancelled with the saga's own."""
        task = SagaTask(coro, loop=self, name=None, context=Context())
        self._system_tasks = [t for t in self._system_tasks if not t.done()]
        self._system_tasks.append(task)
        return task

    def shielded_future(self) -> ShieldedFuture:
        return ShieldedFuture(loop=self)

    def fire(self, timer: AnyTimer) -> None:
        self._ready.append(timer)

    def live_tasks(self) -> list[SagaTask]:
        return [task for task in self.tasks if not task.done()]

    def waits_at(self) -> str:
        """`file:line` of the first await that has not ended, for people."""
        for task in self.live_tasks():
            for frame in task.get_stack(limit=1):
                return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        return "a task of the runtime's"

    def unretrieved(self) -> list[BaseException]:
        """What tasks raised and nobody looked at, and what callbacks raised."""
        raised = [task.exception() for task in self.tasks if task.done() and getattr(task, "_log_traceback", False)]
        return [error for error in raised if error is not None] + self.errors

    def refused_operation(self) -> Coroutine[Any, Any, Any]:
        """What an operation is while the saga is evicted: Evicted, or at last something that never ends."""
        self._refusals.refuse()
        return parked()

    def misuse(self, text: str) -> Misuse:
        """The error to raise. The saga is blocked whatever its code does with it."""
        error = Misuse(text)
        if self.broken is None:
            self.broken = error
        return error

    def enter(self) -> Outer:
        """Be the running loop of this thread. Returns what `leave` puts back."""
        outer = events._get_running_loop(), sys.get_asyncgen_hooks()
        events._set_running_loop(self)
        self.thread = get_ident()
        firstiter, finalizer = outer[1]
        if firstiter is not _note_generator or finalizer is not None:
            sys.set_asyncgen_hooks(firstiter=_note_generator, finalizer=None)
        return outer

    def leave(self, outer: Outer) -> None:
        loop, hooks = outer
        self.thread = None
        if loop is not None:
            # Without a loop around us ours stay: to set them is an audit event, and a turn has better things to do.
            sys.set_asyncgen_hooks(*hooks)
        events._set_running_loop(loop)

    def run(self) -> None:
        """Call what is ready until nothing is, or the saga is broken. Raises Blocked at the limit of callbacks.

        anyio's cancel scopes deliver a cancel again in each iteration, until their tasks are gone. While nothing else
        moves, that is nothing to wait for: these callbacks stay for the next turn.
        """
        try:
            left = self._run_ready(limits.TURN_CALLBACKS_MAX)
            while self._retries and self.broken is None:
                retries, self._retries = self._retries, []
                left = self._run_all(retries, left)
                if not self._ready:
                    break
                left = self._run_ready(left)
        except SystemExit:
            self.broken = Misuse("saga code called sys.exit(): raise an exception to end the saga")
        self._prune()

    def evict(self) -> None:
        """Close every coroutine, the newest first, while every operation refuses; never left to garbage collection."""
        self.evicted = True
        outer, thread = events._get_running_loop(), self.thread
        events._set_running_loop(self)
        self.thread = get_ident()
        try:
            for task in reversed(self.tasks + self._system_tasks):
                close(task.get_coro())
                # By a cancel asyncio lets go of callbacks (nobody is called): what is no ring is freed at once.
                for future in filter(None, (getattr(task, "_fut_waiter", None), task)):
                    futures.Future.cancel(future)
            for generator in reversed(self.generators):
                end(generator)
        finally:
            self.thread = thread
            events._set_running_loop(outer)
        self.timers.clear()
        self.tasks, self._system_tasks, self._ready, self._retries = [], [], [], []

    def clear(self) -> None:
        """The saga ended with code still waiting (terminate, fail): that code is closed, the loop stays usable."""
        self.evict()
        self.evicted = False

    # ---- inside --------------------------------------------------------------------------------------------------

    def _run_ready(self, left: int) -> int:
        while self._ready and self.broken is None:
            handles, self._ready = self._ready, []
            left = self._run_all(handles, left)
        return left

    def _run_all(self, handles: list[events.Handle | RuntimeTimer], left: int) -> int:
        for handle in handles:
            if self.broken is not None:
                break
            if not handle.cancelled():
                left -= 1
                handle._run()
        if left < 0:
            text = f"more than {limits.TURN_CALLBACKS_MAX} callbacks in one turn: is there a loop of sleep(0)?"
            raise blocked("TurnLimit", text)
        return left

    def _prune(self) -> None:
        # Ended tasks go, but for those whose error nobody has seen. Amortized: a gather of 1,000 has 1,000 turns.
        if len(self.tasks) > 2 * self._tasks_after_pruning + 8:
            self.tasks = [t for t in self.tasks if not t.done() or getattr(t, "_log_traceback", False)]
            self._tasks_after_pruning = len(self.tasks)

    def _refuse_as_completed(self, coro: Any) -> None:
        caller = sys._getframe(2)
        if caller.f_code.co_name not in ("ensure_future", "_ensure_future"):
            return
        for _ in range(3):
            if caller.f_back is None:
                return
            caller = caller.f_back
            if caller.f_code.co_name == "as_completed" or "_AsCompleted" in getattr(caller.f_code, "co_qualname", ""):
                coro.close()
                raise self.misuse(
                    f"{author_line(caller)}: as_completed() of bare coroutines starts them in an order that a replay "
                    f"can't repeat. Wrap each in asyncio.create_task(...) first"
                )


def _note_generator(generator: AsyncGenerator[Any, Any]) -> None:
    loop = events._get_running_loop()
    if isinstance(loop, SagaLoop):
        loop.generators.append(generator)


def _refusing(name: str) -> Callable[..., NoReturn]:
    def refuse(self: SagaLoop, *_: Any, **__: Any) -> NoReturn:
        if self.evicted:
            raise Evicted
        raise self.misuse(f"{author_line()}: {name} reaches outside of the saga: use s.step(function, ...) for it")

    refuse.__name__ = name
    return refuse


# fmt: off
for _name in (
    "run_in_executor", "set_default_executor", "call_soon_threadsafe", "run_forever", "run_until_complete", "stop",
    "close", "shutdown_asyncgens", "shutdown_default_executor", "getaddrinfo", "getnameinfo", "create_connection",
    "create_server", "start_tls", "sendfile", "create_unix_connection", "create_unix_server",
    "connect_accepted_socket", "create_datagram_endpoint", "connect_read_pipe", "connect_write_pipe",
    "subprocess_shell", "subprocess_exec", "add_reader", "remove_reader", "add_writer", "remove_writer", "sock_recv",
    "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into", "sock_sendall", "sock_sendto", "sock_connect",
    "sock_accept", "sock_sendfile", "add_signal_handler", "remove_signal_handler", "set_task_factory",
    "set_exception_handler", "set_debug",
):
    setattr(SagaLoop, _name, _refusing(_name))
# fmt: on
