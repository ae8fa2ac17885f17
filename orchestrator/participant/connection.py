"""One Postgres connection of a participant, guarded while a handler has it, and opened again when it is lost.

The guard refuses what would end the inbox's transaction behind its back: `commit()`, `rollback()`, `close()`, the SQL
words for them, and the same through SQLAlchemy. Without it one handler's commit would store half a batch.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, LiteralString, Self, TypeVar

import psycopg
from psycopg import pq

from orchestrator.failpoints import failpoint
from orchestrator.participant.refusal import TransactionIsOurs
from orchestrator.participant.waiting import Patience
from outbox_relay import arrays

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

_T = TypeVar("_T")
# What a transaction of a participant commits. Each commit stands between the failpoints `participant.<place>.before`
# and `.after`, in `Lane.transaction`; only transactions that read have no place.
Place = Literal[
    "requests",  # a batch of messages: commands, local handlers, undos, settled notices, events, dead letters
    "ends",  # ends of calls
    "events",  # events that waited
    "claim",  # of events that wait
    "scan",
    "purge",
    "dead",  # a message whose answer can't be stored
    "renew",  # deadlines of calls that wait for a place
    "breaker.declare",
    "breaker.trial",
    "breaker.open",
    "breaker.close",
    "breaker.release",
]

_LOG = logging.getLogger("amends.participant")

CONNECT_TIMEOUT_S = 5
RECONNECT_FIRST_DELAY_S = 0.1
RECONNECT_MAX_DELAY_S = 5.0
IDLE_IN_TRANSACTION_S = 60  # Postgres ends a session whose process was stopped in mid-transaction: its locks go free

# Keepalives notice a server that is gone; the timeouts free the locks of a stopped process (STOP, swap, a debugger).
_OPTIONS: dict[str, Any] = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "options": f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_S}s "
    "-c default_transaction_isolation=read\\ committed -c TimeZone=UTC",
}
_ENDS_A_TRANSACTION = frozenset(("COMMIT", "END", "ABORT", "ROLLBACK", "BEGIN", "START", "PREPARE"))


class InboxCursor(psycopg.AsyncCursor[Any]):
    """Refuses SQL that begins or ends a transaction while a handler has the connection."""

    async def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
        _refuse_transaction_words(self.connection, query)
        return await super().execute(query, params, **options)

    async def executemany(self, query: Any, params_seq: Any, **options: Any) -> None:
        _refuse_transaction_words(self.connection, query)
        await super().executemany(query, params_seq, **options)


class InboxConnection(psycopg.AsyncConnection[Any]):
    """`lent` is true while a handler has it; `piped` while its transaction is begun and committed in pipelines."""

    lent = False
    piped = False
    place: Place | None = None  # of the transaction that is open

    async def begin(self) -> None:
        """Begin a piped transaction, unless it has begun: call it inside the pipeline of its first statements."""
        if self.piped and self.pgconn.transaction_status == pq.TransactionStatus.IDLE:
            await self.execute("BEGIN")

    async def end(self) -> None:
        """Commit a piped transaction: the last statement of its last pipeline. Nobody has committed before it ends."""
        if self.piped:
            await self.execute("COMMIT")

    def about_to_commit(self) -> None:
        """Nothing of what is to be stored at last has been sent yet."""
        if self.place is not None:
            failpoint(f"participant.{self.place}.before")

    async def commit(self) -> None:
        if self.lent:
            raise TransactionIsOurs("commit()")
        await super().commit()

    async def rollback(self) -> None:
        if self.lent:
            raise TransactionIsOurs("rollback()")
        await super().rollback()

    async def close(self) -> None:
        if self.lent:
            raise TransactionIsOurs("close()")
        await super().close()


def _refuse_transaction_words(connection: Any, query: Any) -> None:
    if not getattr(connection, "lent", False):
        return
    text = (
        query if isinstance(query, str) else query.decode() if isinstance(query, bytes) else query.as_string(connection)
    )
    words = text.lstrip()[:60].upper().rstrip(";").split()
    if not words or words[0].rstrip(";") not in _ENDS_A_TRANSACTION:
        return
    if words[0] == "ROLLBACK" and "TO" in words[1:4]:
        return  # to a savepoint
    if words[0] == "PREPARE" and words[1:2] != ["TRANSACTION"]:
        return  # a prepared statement
    raise TransactionIsOurs(f"`{' '.join(words[:2])}`")


class Lane:
    """One connection and who may use it next: a transaction at a time, opened again with backoff when it is lost."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self._connection: InboxConnection | None = None
        self._busy = asyncio.Lock()
        self.sessions = SessionMaker()
        self.patience = Patience()  # with whoever has the transaction

    @asynccontextmanager
    async def transaction(self, place: Place | None = None, *, piped: bool = False) -> AsyncIterator[InboxConnection]:
        """One transaction: commits at the end, rolls back on any exception. Raises psycopg's errors as they are.

        `place` names what it commits; None: it only reads. `piped`: its first statements bring BEGIN along, its last
        ones COMMIT (`Unit` sees to both), so it costs two round trips less.
        """
        async with self._busy:
            connection = await self._open()
            connection.place = place
            async with self._piped(connection) if piped else connection.transaction():
                yield connection
                if not piped:
                    connection.about_to_commit()
            if place is not None:
                failpoint(f"participant.{place}.after")

    @asynccontextmanager
    async def _piped(self, connection: InboxConnection) -> AsyncIterator[None]:
        connection.piped = True
        try:
            yield
            assert connection.pgconn.transaction_status == pq.TransactionStatus.IDLE, "nobody has committed"
        except BaseException:
            await _roll_back(connection)
            raise
        finally:
            connection.piped = False

    async def execute(
        self, statement: LiteralString, params: Any = None, place: Place | None = None
    ) -> list[tuple[Any, ...]]:
        """One statement in a transaction of its own; its rows, if it has any. What only reads takes one round trip."""
        if place is None:
            async with self._busy:
                return await _rows(await self._open(), statement, params)
        async with self.transaction(place) as connection:
            return await _rows(connection, statement, params)

    async def close(self) -> None:
        """Waits for the transaction that is open."""
        async with self._busy:
            await self._drop()

    async def _open(self) -> InboxConnection:
        if self._connection is not None and not self._usable(self._connection):
            await self._drop()
        if self._connection is None:
            options = {**_OPTIONS, "application_name": f"amends {self._name}"}
            connection = await InboxConnection.connect(
                self._url, autocommit=True, cursor_factory=InboxCursor, **options
            )
            arrays.register(connection)
            self._connection = connection
            self.sessions.connection = connection
        return self._connection

    @staticmethod
    def _usable(connection: InboxConnection) -> bool:
        return not connection.closed and connection.info.transaction_status == pq.TransactionStatus.IDLE

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        await self.sessions.forget()
        if connection is not None:
            await connection.close()


async def _rows(connection: InboxConnection, statement: LiteralString, params: Any) -> list[tuple[Any, ...]]:
    cursor = await connection.execute(statement, params)
    return await cursor.fetchall() if cursor.description else []


async def _roll_back(connection: InboxConnection) -> None:
    """As far as there is somebody to hear it: what went wrong before is raised, not what goes wrong here."""
    open_ones = (pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR)
    if connection.pgconn.transaction_status in open_ones:
        try:
            await connection.execute("ROLLBACK")
        except (psycopg.Error, OSError) as error:
            _LOG.warning("not rolled back: %s; the connection is dropped", error)


class SessionMaker:
    """Makes SQLAlchemy sessions on the connection of a lane. SQLAlchemy is imported by the first one."""

    def __init__(self) -> None:
        self.connection: InboxConnection | None = None
        self._engine: AsyncEngine | None = None

    def session(self) -> "AsyncSession":
        """A session inside the transaction that is open on the lane's connection."""
        from orchestrator.participant import sqlalchemy_session

        if self._engine is None:
            self._engine = sqlalchemy_session.engine_on(lambda: self.connection)
        return sqlalchemy_session.session_on(self._engine)

    async def forget(self) -> None:
        """The connection is gone, and with it all that the engine knows about it."""
        engine, self._engine, self.connection = self._engine, None, None
        if engine is not None:
            await engine.dispose()


def sqlstate_of(error: BaseException | None) -> str | None:
    """The SQLSTATE behind an exception, also where SQLAlchemy or a handler has wrapped it."""
    seen = 0
    while error is not None and seen < 20:
        if isinstance(error, psycopg.Error) and error.sqlstate:
            return error.sqlstate
        error, seen = getattr(error, "orig", None) or error.__cause__ or error.__context__, seen + 1
    return None


def is_conflict(error: BaseException) -> bool:
    """A serialization failure, a deadlock, or an inbox row that somebody else has made since we looked.

    The transaction is run again, nobody is to blame.
    """
    if isinstance(error, psycopg.errors.UniqueViolation):
        return (error.diag.schema_name, error.diag.table_name) == ("amends", "inbox")
    return (sqlstate_of(error) or "").startswith("40")


def is_connection_loss(error: BaseException) -> bool:
    """The server is gone, restarting, or ended our session; or there is no telling whether the COMMIT happened."""
    state = sqlstate_of(error) or ""
    if state:
        return (state[:2] in ("08", "53", "57") and state != "57014") or state in ("25006", "25P03")
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError):
        cause = getattr(cause, "orig", None) or cause.__cause__
    return cause is not None


async def until_connected(attempt: Callable[[], Awaitable[_T]], what: str) -> _T:
    """Run `attempt` until no lost connection stops it: Postgres restarts, and everything goes on by itself."""
    delay_s = RECONNECT_FIRST_DELAY_S
    while True:
        try:
            return await attempt()
        except (psycopg.Error, OSError) as error:
            if not (isinstance(error, OSError) or is_connection_loss(error)):
                raise
            _LOG.warning("%s: Postgres does not answer (%s); again in %.1f s", what, str(error).strip(), delay_s)
        await asyncio.sleep(delay_s * random.uniform(0.8, 1.2))
        delay_s = min(delay_s * 2, RECONNECT_MAX_DELAY_S)
