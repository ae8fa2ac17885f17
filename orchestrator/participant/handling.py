"""What a handler gets besides its message: `Handling` for a call out, `Transaction` inside the inbox's own."""

import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic

from psycopg import AsyncConnection
from typing_extensions import TypeVar

from orchestrator.contracts import Event
from orchestrator.log_fields import FieldsAdapter

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from orchestrator.participant.connection import InboxConnection, SessionMaker

_D = TypeVar("_D", default=None)
_LOG = logging.getLogger("amends.participant")


class Handling(Generic[_D]):
    """The handling of one message. There is no connection here: while you call out, no transaction is open."""

    def __init__(
        self,
        *,
        key: str,
        attempt: int = 1,
        saga_id: str = "",
        expires_at: datetime | None = None,
        deps: _D,
    ) -> None:
        self._key = key
        self._attempt = attempt
        self._saga_id = saga_id
        self._expires_at = expires_at
        self._deps = deps
        self._published: list[Event] = []

    @property
    def key(self) -> str:
        """The same over every attempt, restart and redelivery: put it into Idempotency-Key.

        An undo has a key of its own, `<key>:undo`, as stable as the command's. For an event it is the event's id.
        """
        return self._key

    @property
    def attempt(self) -> int:
        """From 1; of an undo: of this undo."""
        return self._attempt

    @property
    def saga_id(self) -> str:
        """The author's id of the saga that asks; empty for an event."""
        return self._saga_id

    @property
    def expires_at(self) -> datetime | None:
        """Not begun after this."""
        return self._expires_at

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """Each line carries `saga_id`, `operation_key` and `attempt`; rendered by `amends`, every line of a handler
        does, whatever logger it comes from, and `command_type` and `trace_id` too.
        """
        return FieldsAdapter(_LOG, {"saga_id": self._saga_id, "operation_key": self._key, "attempt": self._attempt})

    @property
    def deps(self) -> _D:
        """What the participant's lifespan opened: an HTTP client, a cache."""
        return self._deps

    def publish(self, event: Event) -> None:
        """Written with the answer: it leaves if, and only if, the answer is stored.

        After a crash the answer comes from `lookup` and not from the handler; what must be published however the
        answer came to be known belongs into `record`.
        """
        self._published.append(event)


class Transaction(Handling[_D]):
    """A handling inside the inbox's transaction: your rows, the inbox and the outbox commit together, or none does."""

    def __init__(
        self,
        *,
        key: str,
        connection: "InboxConnection",
        sessions: "SessionMaker",
        attempt: int = 1,
        saga_id: str = "",
        expires_at: datetime | None = None,
        deps: _D,
    ) -> None:
        super().__init__(key=key, attempt=attempt, saga_id=saga_id, expires_at=expires_at, deps=deps)
        self._connection = connection
        self._sessions = sessions
        self._session: AsyncSession | None = None

    @property
    def connection(self) -> AsyncConnection[Any]:
        """psycopg; commit and rollback are refused. `async with tx.connection.transaction():` is a savepoint."""
        return self._connection

    @property
    def session(self) -> "AsyncSession":
        """A SQLAlchemy session on the same connection, so in the same transaction; commit and rollback are refused.

        What is pending is flushed when the handler returns. `async with tx.session.begin_nested():` is a savepoint.
        """
        if self._session is None:
            self._session = self._sessions.session()
        return self._session


def published(handling: Handling[Any]) -> tuple[Event, ...]:
    """What the handler published, in order."""
    return tuple(handling._published)


async def finish_session(transaction: Transaction[Any], *, flush: bool) -> None:
    """Flush what is pending and detach the session; the transaction itself stays open."""
    session = transaction._session
    if session is None:
        return
    try:
        if flush:
            await session.flush()
    finally:
        transaction._session = None
        await session.close()
