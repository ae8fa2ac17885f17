"""`SyncClient`: the same as `Client` without await, for Flask, Django, scripts. Safe to share between threads."""

import contextlib
import threading
import time
from collections.abc import Collection, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import psycopg

from orchestrator import limits
from orchestrator.client import listing, reading, requests
from orchestrator.client.answers import Description, Page, Started, Status
from orchestrator.client.hearing import Hearing
from orchestrator.client.known import Known
from orchestrator.client.pools import Finished, explained, opened_sync_pool, run_joined_sync, run_sync
from orchestrator.client.requests import Duration, Pause, Steps
from orchestrator.contracts import Message
from orchestrator.messaging import framing
from orchestrator.settings import Settings, read_settings
from outbox_relay.connections import is_async

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

    from orchestrator.core.saga_type import SagaType
    from outbox_relay.connections import Sync

_I = TypeVar("_I")
_R = TypeVar("_R")
_T = TypeVar("_T")


class SyncClient:
    """Opens nothing before it is used. `connection=` joins your transaction: it starts or arrives if you commit."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._given = settings
        self._known = Known()
        self._pool: ConnectionPool[psycopg.Connection[tuple[Any, ...]]] | None = None
        self._opening = threading.Lock()
        self._hearing: Hearing | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give its connections back. A request after it opens new ones."""
        pool, self._pool = self._pool, None
        hearing, self._hearing = self._hearing, None
        if hearing is not None:
            hearing.close()
        if pool is not None:
            pool.close()

    def start(self, saga: "SagaType[_I, Any]", input: _I, /, *, id: str, connection: "Sync | None" = None) -> Started:
        """Start a saga. Same id, same input: nothing happens again. Same id, another input: SagaIdTaken."""
        text = requests.encoded_input(saga.input_type, input)
        self._look_up()
        return self._run_joined(
            connection, requests.start(saga.name, saga.version, text, id, self._settings.topic_prefix)
        )

    def run(self, saga: "SagaType[_I, _R]", input: _I, /, *, id: str, timeout: Duration | None = None) -> _R:
        """start, then result."""
        self.start(saga, input, id=id)
        return self.result(saga, id, timeout=timeout)

    def result(self, saga: "SagaType[Any, _R]", id: str, /, *, timeout: Duration | None = None) -> _R:
        """Wait for the end. The saga's own Failure, or SagaFailed; a timeout (TimedOut) only stops the waiting."""
        steps = requests.result(id, saga.name)
        text = self.end_of(id, steps, requests.seconds(timeout))
        value: _R = requests.adapter(saga.result_type).validate_json(text)
        return value

    def send(
        self,
        id: str,
        message: Message,
        /,
        *,
        channel: str = "",
        message_id: str | None = None,
        connection: "Sync | None" = None,
    ) -> None:
        """Send a message. Kept if it comes before its saga. One `message_id` is delivered once."""
        self._look_up(type(message))
        steps = requests.send(id, message, channel, message_id, self._settings.topic_prefix)
        self._run_joined(connection, steps)

    def get(self, id: str, key: str, type: type[_T], /) -> _T | None:
        """What the saga last `set`."""
        text = self.request(requests.get(id, key))
        return None if text is None else requests.adapter(type).validate_json(text)

    def describe(self, id: str, /) -> Description:
        """The saga as it is now, from its row and its journal."""
        return self.request(reading.describe(id))

    def list(
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
        return self.request(
            listing.page(
                status=status, type=type, contains=contains, older_than=older_than, cursor=cursor, rows_max=rows_max
            )
        )

    def cancel(self, id: str, /) -> None:
        """Raises CancelledError at the saga's await; its undos run."""
        self.request(requests.give_verb(id, "cancel", ""))

    def terminate(self, id: str, /, *, note: str) -> None:
        """Stop it where it is, without its undos; it lists what was left undone."""
        self.request(requests.give_verb(id, "terminate", note))

    def retry(self, id: str, /) -> None:
        """Try again what a stuck saga could not do."""
        self.request(requests.give_verb(id, "retry", ""))

    def skip(self, id: str, /, *, note: str) -> None:
        """Go on without what a stuck saga could not do; the note says who has dealt with it."""
        self.request(requests.give_verb(id, "skip", note))

    def fail(self, id: str, /, *, note: str) -> None:
        """Let a stuck saga fail: what can be undone is undone."""
        self.request(requests.give_verb(id, "fail", note))

    def unblock(self, id: str, /) -> None:
        """Let a blocked saga go on, after the code that it did not fit was deployed."""
        self.request(requests.give_verb(id, "unblock", ""))

    def _look_up(self, *types: type[Message]) -> None:
        """The registry's ids of what is to be written, once in a process."""
        if framing.wants(self._settings, types):
            framing.prepare(self._settings, types)

    def _run_joined(self, connection: Any, steps: Steps[_T]) -> _T:
        if connection is None:
            return self.request(steps)
        if is_async(connection):
            raise TypeError(f"SyncClient does not await; {type(connection).__qualname__} is for Client")
        return run_joined_sync(connection, steps, self._known.of(connection))

    @property
    def _settings(self) -> Settings:
        if self._given is None:
            self._given = read_settings()
        return self._given

    def request(self, steps: Steps[_T]) -> _T:
        """Run a request of `client.requests` or `client.reading` on a connection of ours; the CLI does."""
        found = self._go_on(steps)
        assert isinstance(found, Finished)
        return found.value

    def end_of(self, saga_id: str, steps: Steps[_T], timeout_s: float | None = None) -> _T:
        """Run a request that waits for the end of a saga; the CLI does. Raises TimedOut."""
        end_s = None if timeout_s is None else time.monotonic() + timeout_s
        rung = threading.Event()
        with self._heard().waiter(saga_id, rung.set) as waiter:
            while True:
                rung.clear()
                waiter.look()
                found = self._go_on(steps)
                if isinstance(found, Finished):
                    return found.value
                left_s = None if end_s is None else end_s - time.monotonic()
                if left_s is not None and left_s <= 0:
                    raise requests.too_late(saga_id, timeout_s)
                pause_s = waiter.pause_s(found.seconds)
                rung.wait(pause_s if left_s is None else min(pause_s, left_s))

    def _go_on(self, steps: Steps[_T]) -> Pause | Finished[_T]:
        with self._connection() as connection:
            return run_sync(connection, steps, self._known.of())

    def _heard(self) -> Hearing:
        with self._opening:
            if self._hearing is None:
                self._hearing = Hearing(self._settings.database_url.get_secret_value())
            return self._hearing

    @contextlib.contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        pool = self._opened_pool()
        try:
            with pool.connection() as connection:
                yield connection
        except psycopg.Error as error:
            if said := explained(error, self._settings):
                raise said from error
            raise

    def _opened_pool(self) -> "ConnectionPool[psycopg.Connection[tuple[Any, ...]]]":
        with self._opening:
            if self._pool is None:
                self._pool = opened_sync_pool(self._settings)
            return self._pool
