"""`Client`: for code that runs on an event loop."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import psycopg

from orchestrator import limits
from orchestrator.client import listing, reading, requests, watching
from orchestrator.client.answers import Description, Page, Started, Status, Watched
from orchestrator.client.fan_out import FanOut, told
from orchestrator.client.hearing import Hearing
from orchestrator.client.known import Known
from orchestrator.client.pools import (
    AT_ONE_INSTANT,
    Finished,
    explained,
    opened_async_pool,
    run_async,
    run_joined_async,
)
from orchestrator.client.requests import Duration, Pause, Steps
from orchestrator.contracts import Message
from orchestrator.errors import RequestError
from orchestrator.messaging import framing
from orchestrator.settings import Settings, read_settings
from outbox_relay.connections import is_async

if TYPE_CHECKING:
    from psycopg_pool import AsyncConnectionPool

    from orchestrator.core.saga_type import SagaType
    from outbox_relay.connections import Async

_I = TypeVar("_I")
_R = TypeVar("_R")
_T = TypeVar("_T")


class Client:
    """Opens nothing before it is used. `connection=` joins your transaction: it starts or arrives only if you commit.

    It belongs to the event loop of its first request. `async with` closes its connections; without settings they are
    read from the environment at the first request.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._given = settings
        self._known = Known()
        self._pool: AsyncConnectionPool[psycopg.AsyncConnection[tuple[Any, ...]]] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = asyncio.Lock()
        self._hearing: Hearing | None = None
        self._fan_out: FanOut | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Give its connections back. A request after it opens new ones."""
        pool, self._pool, self._loop = self._pool, None, None
        hearing, self._hearing = self._hearing, None
        fan_out, self._fan_out = self._fan_out, None
        if fan_out is not None:
            await fan_out.close()
        if hearing is not None:
            await asyncio.to_thread(hearing.close)
        if pool is not None:
            await pool.close()

    async def start(
        self, saga: "SagaType[_I, Any]", input: _I, /, *, id: str, connection: "Async | None" = None
    ) -> Started:
        """Start a saga. Same id, same input: nothing happens again. Same id, another input: SagaIdTaken."""
        text = requests.encoded_input(saga.input_type, input)
        await self._look_up()
        steps = requests.start(saga.name, saga.version, text, id, self._settings.topic_prefix)
        return await self._run_joined(connection, steps)

    async def run(self, saga: "SagaType[_I, _R]", input: _I, /, *, id: str, timeout: Duration | None = None) -> _R:
        """start, then result."""
        await self.start(saga, input, id=id)
        return await self.result(saga, id, timeout=timeout)

    async def result(self, saga: "SagaType[Any, _R]", id: str, /, *, timeout: Duration | None = None) -> _R:
        """Wait for the end. The saga's own Failure, or SagaFailed; a timeout (TimedOut) only stops the waiting."""
        steps = requests.result(id, saga.name)
        text = await self.end_of(id, steps, requests.seconds(timeout))
        value: _R = requests.adapter(saga.result_type).validate_json(text)
        return value

    async def send(
        self,
        id: str,
        message: Message,
        /,
        *,
        channel: str = "",
        message_id: str | None = None,
        connection: "Async | None" = None,
    ) -> None:
        """Send a message. Kept if it comes before its saga. One `message_id` is delivered once."""
        await self._look_up(type(message))
        steps = requests.send(id, message, channel, message_id, self._settings.topic_prefix)
        await self._run_joined(connection, steps)

    async def get(self, id: str, key: str, type: type[_T], /) -> _T | None:
        """What the saga last `set`."""
        text = await self.request(requests.get(id, key))
        return None if text is None else requests.adapter(type).validate_json(text)

    async def describe(self, id: str, /) -> Description:
        """The saga as it is now, from its row and its journal."""
        return await self.request(reading.describe(id))

    async def list(
        self,
        *,
        status: Status | Collection[Status] | None = None,
        type: str | None = None,
        contains: str = "",
        older_than: Duration | None = None,
        cursor: str | None = None,
        rows_max: int = limits.LISTED_DEFAULT,
    ) -> Page:
        """A page of the sagas, the newest first: of a status or several, of a type, with a text in the id, begun so
        long ago by the database's clock. `cursor` is the `next_cursor` of the page before; RequestError if it is none.
        """
        return await self.request(
            listing.page(
                status=status, type=type, contains=contains, older_than=older_than, cursor=cursor, rows_max=rows_max
            )
        )

    async def watch(
        self, id: str | None = None, /, *, type: str | None = None, cursor: str | None = None
    ) -> AsyncGenerator[Watched, None]:
        """All sagas as they move, or those of a type; with an id that one: first as it is now, and last as it ended.

        What it yields: Opened, Moved, TookOver, Missed. SagaNotFound for an id that is none; RequestError for a cursor
        that is none. It goes on through outages, and says Missed if it has to.
        """
        place = None if cursor is None else watching.parse_cursor(cursor)
        if id is not None:
            await self.request(reading.row(id))
        async with self.fan_out().subscribed(place) as subscription:
            async for event in told(subscription, self.read_at_once, id=id, type=type):
                yield event

    def fan_out(self) -> FanOut:
        """What moves, for those who read more of it than `watch` tells: the HTTP API does."""
        if self._fan_out is None:
            self._fan_out = FanOut(self.request, self.read_at_once)
        return self._fan_out

    async def cancel(self, id: str, /) -> None:
        """Raises CancelledError at the saga's await; its undos run."""
        await self.request(requests.give_verb(id, "cancel", ""))

    async def terminate(self, id: str, /, *, note: str) -> None:
        """Stop it where it is, without its undos; it lists what was left undone."""
        await self.request(requests.give_verb(id, "terminate", note))

    async def retry(self, id: str, /) -> None:
        """Try again what a stuck saga could not do."""
        await self.request(requests.give_verb(id, "retry", ""))

    async def skip(self, id: str, /, *, note: str) -> None:
        """Go on without what a stuck saga could not do; the note says who has dealt with it."""
        await self.request(requests.give_verb(id, "skip", note))

    async def fail(self, id: str, /, *, note: str) -> None:
        """Let a stuck saga fail: what can be undone is undone."""
        await self.request(requests.give_verb(id, "fail", note))

    async def unblock(self, id: str, /) -> None:
        """Let a blocked saga go on, after the code that it did not fit was deployed."""
        await self.request(requests.give_verb(id, "unblock", ""))

    @property
    def _settings(self) -> Settings:
        if self._given is None:
            self._given = read_settings()
        return self._given

    async def _look_up(self, *types: type[Message]) -> None:
        """The registry's ids of what is to be written, once in a process and off the loop: it is asked by HTTP."""
        if framing.wants(self._settings, types):
            await asyncio.to_thread(framing.prepare, self._settings, types)

    async def _run_joined(self, connection: Any, steps: Steps[_T]) -> _T:
        if connection is None:
            return await self.request(steps)
        if not is_async(connection):
            raise TypeError(f"Client awaits its connection; {type(connection).__qualname__} is for SyncClient")
        return await run_joined_async(connection, steps, self._known.of(connection))

    async def request(self, steps: Steps[_T]) -> _T:
        """Run a request of `client.requests` or `client.reading` on a connection of ours; the console does."""
        found = await self._go_on(steps)
        assert isinstance(found, Finished)
        return found.value

    async def read_at_once(self, steps: Steps[_T]) -> _T:
        """As `request`, for one that only reads: all its statements see the database as it is at one instant."""
        async with self._connection() as connection, connection.transaction():
            await connection.execute(AT_ONE_INSTANT)
            found = await run_async(connection, steps, self._known.of())
        assert isinstance(found, Finished)
        return found.value

    async def end_of(self, saga_id: str, steps: Steps[_T], timeout_s: float | None = None) -> _T:
        """Run a request that waits for the end of a saga. Raises TimedOut."""
        waiting = asyncio.timeout(timeout_s)
        try:
            async with waiting:
                return await self._wait_for_end(saga_id, steps)
        except TimeoutError:
            if not waiting.expired():
                raise
            raise requests.too_late(saga_id, timeout_s) from None

    async def _wait_for_end(self, saga_id: str, steps: Steps[_T]) -> _T:
        rung, loop = asyncio.Event(), asyncio.get_running_loop()
        with self._heard().waiter(saga_id, lambda: _set(rung, loop)) as waiter:
            while True:
                rung.clear()
                waiter.look()
                found = await self._go_on(steps)
                if isinstance(found, Finished):
                    return found.value
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(rung.wait(), waiter.pause_s(found.seconds))

    async def _go_on(self, steps: Steps[_T]) -> Pause | Finished[_T]:
        async with self._connection() as connection:
            return await run_async(connection, steps, self._known.of())

    def _heard(self) -> Hearing:
        if self._hearing is None:
            self._hearing = Hearing(self._settings.database_url.get_secret_value())
        return self._hearing

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[psycopg.AsyncConnection[tuple[Any, ...]]]:
        pool = await self._opened_pool()
        try:
            async with pool.connection() as connection:
                yield connection
        except psycopg.Error as error:
            if said := explained(error, self._settings):
                raise said from error
            raise

    async def _opened_pool(self) -> "AsyncConnectionPool[psycopg.AsyncConnection[tuple[Any, ...]]]":
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None and not self._loop.is_closed():
                raise RequestError("this Client belongs to another event loop that still runs: make one for each loop")
            # The connections of a loop that was closed ended with it.
            self._pool, self._loop, self._opening = None, loop, asyncio.Lock()
        async with self._opening:
            if self._pool is None:
                self._pool = await opened_async_pool(self._settings)
            return self._pool


def _set(rung: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
    with contextlib.suppress(RuntimeError):  # The loop was closed: nobody waits there any more.
        loop.call_soon_threadsafe(rung.set)
