"""A SQLAlchemy session on the psycopg connection of the inbox's transaction. Imported by the first `tx.session` only.

SQLAlchemy believes that it opens, rolls back and closes a connection of its own: rolling back and closing do nothing
here (it does both when a session ends), and every way to commit is refused.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, cast

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from orchestrator.participant.refusal import TransactionIsOurs

if TYPE_CHECKING:
    from psycopg import AsyncCursor

    from orchestrator.participant.connection import InboxConnection


class _Borrowed:
    """The connection as SQLAlchemy sees it: everything but its transaction and its end."""

    def __init__(self, connection: "InboxConnection") -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def cursor(self, *args: Any, **options: Any) -> "AsyncCursor[Any]":
        return cast("AsyncCursor[Any]", self._connection.cursor(*args, **options))

    async def commit(self) -> NoReturn:
        raise TransactionIsOurs("a commit through SQLAlchemy")

    async def rollback(self) -> None:
        """Ours to do: SQLAlchemy asks for it whenever a session ends."""

    async def close(self) -> None:
        """Ours to do."""

    async def set_autocommit(self, _value: object) -> None:
        """Ours to choose."""


class _Session(Session):
    def commit(self) -> NoReturn:
        raise TransactionIsOurs("tx.session.commit()")

    def rollback(self) -> NoReturn:
        raise TransactionIsOurs("tx.session.rollback()")


class _AsyncSession(AsyncSession):
    sync_session_class = _Session


def engine_on(connection: "Callable[[], InboxConnection | None]") -> AsyncEngine:
    """An engine whose only connection is the one that `connection` returns."""

    async def borrow(*_: Any, **__: Any) -> Any:
        open_connection = connection()
        assert open_connection is not None, "a session outlived its lane"
        return _Borrowed(open_connection)

    return create_async_engine(
        "postgresql+psycopg://", async_creator=borrow, poolclass=NullPool, use_native_hstore=False
    )


def session_on(engine: AsyncEngine) -> AsyncSession:
    """A session of one handling; objects stay usable after it."""
    return _AsyncSession(engine, expire_on_commit=False)
