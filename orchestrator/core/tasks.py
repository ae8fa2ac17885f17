"""The tasks and futures of a saga's loop: they hash by a number that a replay gives again.

Its low bits count, its high bits are the saga's: in a table with the first tasks of all sagas (anyio keeps one) these
would else have one hash, and each that came or went would be compared with thousands.
"""

from asyncio import futures, tasks
from collections.abc import Coroutine
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.core.loop import SagaLoop

PLACE: ContextVar[Any] = ContextVar("amends_place")  # the scope in which code runs; `core.undo` gives it its meaning


class SagaTask(tasks.Task[Any]):
    """`place` is the scope in which it was created; `shield` what it waits for while a cancel must wait."""

    shield: "ShieldedFuture | None" = None

    def __init__(self, coro: Coroutine[Any, Any, Any], *, loop: "SagaLoop", name: str | None, context: Context) -> None:
        self._hash = loop.next_hash()
        self.place = context.get(PLACE)
        super().__init__(coro, loop=loop, name=name or f"task-{self._hash - loop.hashes_from}", context=context)
        self._log_destroy_pending = False
        # asyncio keeps one set of the tasks of ALL loops: who asks it for his own would walk over those of all sagas.
        tasks._unregister_task(self)

    def __hash__(self) -> int:
        return self._hash


class SagaFuture(futures.Future[Any]):
    __slots__ = ("_hash",)  # One is made for each operation: without a dict of its own it costs half.

    def __init__(self, *, loop: "SagaLoop") -> None:
        super().__init__(loop=loop)
        self._hash = loop.next_hash()

    def __hash__(self) -> int:
        return self._hash


class ShieldedFuture(SagaFuture):
    """Who waits for it is not woken by a cancel; the cancel is counted, and due when the wait is over.

    A future that was cancelled and awaited again would never let a loop of anyio's become quiet: its scopes cancel
    what they hold again and again, until it is gone.
    """

    cancels = 0
    message: Any = None  # anyio knows its own cancels by it

    def cancel(self, msg: Any = None) -> bool:
        self.cancels += 1
        self.message = self.message if msg is None else msg
        return True
