"""The handle `s`. With `await` the saga may sleep there, for weeks; without it is written together with this turn."""

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, overload
from uuid import UUID

from orchestrator.contracts import Command, Event, Message
from orchestrator.core import values
from orchestrator.core.blocked import Evicted
from orchestrator.core.calls import Call, Child
from orchestrator.core.decisions import Publish, SendMessage, SetValue, StartSaga, Wait
from orchestrator.core.mailbox import Mailbox, Receive
from orchestrator.core.operations import Operation
from orchestrator.core.saga_type import SagaType
from orchestrator.core.state import SagaState, Site, Unbegun, file_and_line, site_of
from orchestrator.core.steps import Step
from orchestrator.core.tasks import PLACE
from orchestrator.core.undo import Place, undo_place
from orchestrator.log_fields import FieldsAdapter
from orchestrator.retry import Retry

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Connection

_I = TypeVar("_I")
_R = TypeVar("_R")
_M1 = TypeVar("_M1", bound=Message)
_M2 = TypeVar("_M2", bound=Message)
_M3 = TypeVar("_M3", bound=Message)
_M4 = TypeVar("_M4", bound=Message)
_Ts = TypeVarTuple("_Ts")
_Duration = timedelta | float  # seconds, as in asyncio
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Scope:
    """A part of the saga that can be taken back by itself."""

    def __init__(self, st: SagaState, place: Place) -> None:
        self._st = st
        self._place = place

    async def undo(self) -> None:
        """Take back what was done in it, now, and go on."""
        await undo_place(self._st, self._place)

    def keep(self) -> None:
        """Whatever was, is or turns out to have been done in it stays."""
        self._place.kept = True


class Saga:
    """The running saga. Plain asyncio (sleep, gather, wait, timeout, TaskGroup, Queue, Event) is durable in it too."""

    __slots__ = ("_mailbox", "_st")

    def __init__(self, st: SagaState, mailbox: Mailbox) -> None:
        self._st = st
        self._mailbox = mailbox

    @property
    def id(self) -> str:
        return self._st.identity.id

    @property
    def log(self) -> "logging.LoggerAdapter[logging.Logger]":
        """Silent while the past is replayed; each line carries `saga_id`, `saga_type` and `trace_id`."""
        return _Log(self._st)

    # ---- await: the saga may sleep here ---------------------------------------------------------------------------
    # These return real coroutines (type checkers flag one that is not awaited) and note where they were made, so that
    # the runtime finds it too, with file and line.

    def call(
        self, command: Command[_R], *, retry: Retry | None = None, timeout: _Duration | None = None
    ) -> Coroutine[Any, Any, _R]:
        """Ask a participant, and have its undo ready before the command leaves."""
        return self._operation(f"s.call({type(command).__name__})", Call, command, retry, _seconds(timeout))

    @overload
    async def step(
        self,
        function: Callable[[*_Ts], Coroutine[Any, Any, _R]],
        *args: *_Ts,
        undo: Callable[[*_Ts], object] | None = None,
        retry: Retry | None = None,
        timeout: _Duration | None = None,
    ) -> _R: ...
    @overload
    async def step(
        self,
        function: Callable[[*_Ts], _R],
        *args: *_Ts,
        undo: Callable[[*_Ts], object] | None = None,
        retry: Retry | None = None,
        timeout: _Duration | None = None,
    ) -> _R: ...
    def step(  # type: ignore[misc]  # mypy does not match *Any with *_Ts
        self,
        function: Callable[..., Any],
        *args: Any,
        undo: Callable[..., Any] | None = None,
        retry: Retry | None = None,
        timeout: _Duration | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Run a function of this process: async on the step loop, sync in a thread. At least once, one result.

        `undo` gets the SAME arguments: it must work when nobody knows whether the step took effect.
        If you need a name for what you make, make it first: `key = s.uuid()`.
        """
        what = f"s.step({getattr(function, '__name__', 'function')})"
        return self._operation(what, Step, "step", function, args, undo, retry, _seconds(timeout))

    @overload
    async def transaction(
        self,
        function: "Callable[[AsyncConnection[Any], *_Ts], Coroutine[Any, Any, _R]]",
        *args: *_Ts,
        undo: "Callable[[AsyncConnection[Any], *_Ts], Coroutine[Any, Any, object]] | None" = None,
        database: str = "default",
        retry: Retry | None = None,
    ) -> _R: ...
    @overload
    async def transaction(
        self,
        function: "Callable[[Connection[Any], *_Ts], _R]",
        *args: *_Ts,
        undo: "Callable[[Connection[Any], *_Ts], object] | None" = None,
        database: str = "default",
        retry: Retry | None = None,
    ) -> _R: ...
    def transaction(  # type: ignore[misc]  # the same
        self,
        function: Callable[..., Any],
        *args: Any,
        undo: Callable[..., Any] | None = None,
        database: str = "default",
        retry: Retry | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """A step in a transaction of its own, in a database of yours: exactly once."""
        what = f"s.transaction({getattr(function, '__name__', 'function')})"
        return self._operation(what, Step, "transaction", function, args, undo, retry, None, database)

    @overload
    async def receive(self, message: type[_M1], /, *, channel: str = "", timeout: _Duration | None = None) -> _M1: ...
    @overload
    async def receive(
        self, m1: type[_M1], m2: type[_M2], /, *, channel: str = "", timeout: _Duration | None = None
    ) -> _M1 | _M2: ...
    @overload
    async def receive(
        self, m1: type[_M1], m2: type[_M2], m3: type[_M3], /, *, channel: str = "", timeout: _Duration | None = None
    ) -> _M1 | _M2 | _M3: ...
    @overload
    async def receive(
        self,
        m1: type[_M1],
        m2: type[_M2],
        m3: type[_M3],
        m4: type[_M4],
        /,
        *,
        channel: str = "",
        timeout: _Duration | None = None,
    ) -> _M1 | _M2 | _M3 | _M4: ...
    def receive(
        self, *types: type[Message], channel: str = "", timeout: _Duration | None = None
    ) -> Coroutine[Any, Any, Any]:
        """The oldest message of these types, also one that came before. TimedOut when none comes."""
        what = f"s.receive({', '.join(cls.__name__ for cls in types)})"
        return self._operation(what, Receive, self._mailbox, types, channel, _seconds(timeout))

    def run(
        self, child: SagaType[_I, _R], input: _I, /, *, id: str | None = None, timeout: _Duration | None = None
    ) -> Coroutine[Any, Any, _R]:
        """A child saga and its result. If this saga fails later, the child is undone too.

        A child that fails has made its amends, so its Failure is a definite no here too, and comes out as itself.
        """
        return self._operation(f"s.run({child.name})", Child, child, input, id, _seconds(timeout))

    def scope(self, name: str = "") -> AbstractAsyncContextManager[Scope]:
        """A part of the saga that can be taken back by itself: leave it by an exception, and it is."""
        return _ScopeBlock(self._st, name)

    # ---- no await: written with this turn ---------------------------------------------------------------------------

    def publish(self, event: Event) -> None:
        """Tell whoever listens. It stays told, also when the saga fails later."""
        cls = type(event)
        body = values.message_json(event)
        seq = self._opened()
        key = str(getattr(event, cls.__key__))
        self._st.decide(Publish(seq=seq, topic=cls.__topic__, key=key, type=cls.__wire_name__, body=body))

    def set(self, key: str, value: object) -> None:
        """A value others can read (`client.get`) and watch. Every one is kept, in order."""
        kept = values.anything(value)
        self._st.decide(SetValue(seq=self._opened(), key=key, value=kept))

    def send(self, saga_id: str, message: Message, *, channel: str = "") -> None:
        """A message to another saga."""
        cls = type(message)
        body = values.message_json(message)
        seq = self._opened()
        self._st.decide(SendMessage(seq=seq, saga_id=saga_id, type=cls.__wire_name__, channel=channel, body=body))

    def start(self, saga: SagaType[_I, Any], input: _I, /, *, id: str | None = None) -> str:
        """A saga of its own: not undone with this one, not waited for. Its id."""
        body = values.to_json(saga.input_type, input)
        seq = self._opened()
        started = id or self._st.identity.key(seq)
        self._st.decide(StartSaga(seq=seq, type=saga.name, version=saga.version, id=started, input=body, saga=saga))
        return started

    def pivot(self) -> None:
        """From here on only forward. Misuse while something that can be undone is still open."""
        seq = self._opened()
        st = self._st
        still_open = [op.label for op in st.undoable() if op.state == "open"]
        if still_open:
            assert st.site is not None
            raise st.loop.misuse(
                f"{file_and_line(st.site)}: s.pivot() while {', '.join(reversed(still_open))} can still be undone: "
                f"wait for it first"
            )
        if st.pivot_seq is None:
            st.pivot_seq = seq
            st.decide(Wait(seq=seq, what="pivot"))

    def now(self) -> datetime:
        """The time of what this turn reacts to, in UTC; never running backwards."""
        return _EPOCH + timedelta(microseconds=self._st.now_us)

    def random(self) -> Random:
        """The same numbers on every replay; predictable, so not for tokens."""
        return self._st.random()

    def uuid(self) -> UUID:
        """The same on every replay, another one on every call."""
        return UUID(bytes=self._st.uuid_bytes(), version=4)

    # ---- inside -----------------------------------------------------------------------------------------------------

    def _opened(self) -> int:
        self._st.site = site_of(sys._getframe(2))
        return self._st.next_seq()

    def _operation(self, what: str, make: Callable[..., Operation], *args: Any) -> Coroutine[Any, Any, Any]:
        st = self._st
        if st.loop.evicted:
            return st.loop.refused_operation()
        site = site_of(sys._getframe(2))
        st.made += 1
        coroutine = _operation(st, st.made, site, make, args)
        st.unbegun[st.made] = Unbegun(what, site, coroutine)
        return coroutine


async def _operation(
    st: SagaState, number: int, site: Site, make: Callable[..., Operation], args: tuple[Any, ...]
) -> Any:
    st.unbegun.pop(number, None)
    st.site = site
    operation = make(st, *args)
    try:
        return await operation.future
    except asyncio.CancelledError:
        operation.abandon()
        raise


class _ScopeBlock:
    """`async with s.scope():` enters a place; leaving it by an exception takes back what was done there."""

    def __init__(self, st: SagaState, name: str) -> None:
        self._st = st
        self._name = name
        self._place: Place | None = None

    async def __aenter__(self) -> Scope:
        self._place = Place(self._name, PLACE.get(self._st.root))
        PLACE.set(self._place)
        return Scope(self._st, self._place)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._place is not None
        PLACE.set(self._place.parent)
        if error is not None and not isinstance(error, GeneratorExit | Evicted):
            await undo_place(self._st, self._place)


class _Log(FieldsAdapter):
    def __init__(self, st: SagaState) -> None:
        super().__init__(logging.getLogger(f"orchestrator.saga.{st.identity.type}"), st.identity.log_fields)
        self._loop = st.loop

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  # the name is logging's
        return not self._loop.replaying and super().isEnabledFor(level)


def _seconds(duration: _Duration | None) -> float | None:
    return duration.total_seconds() if isinstance(duration, timedelta) else duration
