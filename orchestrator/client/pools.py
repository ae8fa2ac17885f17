"""A client's own connections, and how a request is run on one: async and sync, side by side.

The pools open nothing before the first request. A connection that broke while it lay in the pool (Postgres was started
again) is found when it is taken out and replaced.
"""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolTimeout

from orchestrator.client.requests import Pause, Steps
from orchestrator.client.statements import Query
from orchestrator.errors import AmendsError, DependencyError
from orchestrator.settings import Settings, without_password
from outbox_relay.connections import first_row, first_row_async

T = TypeVar("T")

APPLICATION_NAME = "amends client"
TRIAL_S = 5
# libpq gives no code for why a connection failed.
LASTING = ("does not exist", "authentication failed", "no pg_hba.conf entry", "permission denied")
IDLE_S = 300.0  # a connection that nobody used for this long is closed


@dataclass(frozen=True, slots=True)
class Finished(Generic[T]):
    """A request came to its end."""

    value: T


async def opened_async_pool(settings: Settings) -> AsyncConnectionPool[AsyncConnection[tuple[Any, ...]]]:
    """A pool for `Client`. Autocommit: each statement of a request is whole by itself.

    A pool only says that it waited in vain; so one connection is tried first, and what no waiting mends is raised.
    """
    try:
        await (await AsyncConnection.connect(settings.database_url.get_secret_value(), connect_timeout=TRIAL_S)).close()
    except psycopg.OperationalError as error:
        _refuse_what_stays_so(error, settings)
    pool = _async_pool(settings)
    await pool.open()
    return pool


def opened_sync_pool(settings: Settings) -> ConnectionPool[Connection[tuple[Any, ...]]]:
    """A pool for `SyncClient`; as `opened_async_pool`."""
    try:
        Connection.connect(settings.database_url.get_secret_value(), connect_timeout=TRIAL_S).close()
    except psycopg.OperationalError as error:
        _refuse_what_stays_so(error, settings)
    pool = _sync_pool(settings)
    pool.open()
    return pool


def _async_pool(settings: Settings) -> AsyncConnectionPool[AsyncConnection[tuple[Any, ...]]]:
    return AsyncConnectionPool(
        settings.database_url.get_secret_value(),
        kwargs={"autocommit": True, "application_name": APPLICATION_NAME},
        min_size=0,
        max_size=settings.client_connections_max,
        timeout=settings.client_connect_timeout_s,
        max_idle=IDLE_S,
        reconnect_timeout=settings.client_connect_timeout_s,
        check=AsyncConnectionPool.check_connection,
        open=False,
    )


def _sync_pool(settings: Settings) -> ConnectionPool[Connection[tuple[Any, ...]]]:
    return ConnectionPool(
        settings.database_url.get_secret_value(),
        kwargs={"autocommit": True, "application_name": APPLICATION_NAME},
        min_size=0,
        max_size=settings.client_connections_max,
        timeout=settings.client_connect_timeout_s,
        max_idle=IDLE_S,
        reconnect_timeout=settings.client_connect_timeout_s,
        check=ConnectionPool.check_connection,
        open=False,
    )


async def run_async(connection: AsyncConnection[tuple[Any, ...]], steps: Steps[T]) -> Pause | Finished[T]:
    """Run a request, or go on with it after a Pause, until it ends or wants to wait."""
    try:
        asked = next(steps)
        while isinstance(asked, Query):
            cursor = await connection.execute(asked.sql, asked.params)
            asked = steps.send(await cursor.fetchall())
        return asked
    except StopIteration as end:
        return Finished(end.value)


def run_sync(connection: Connection[tuple[Any, ...]], steps: Steps[T]) -> Pause | Finished[T]:
    """As `run_async`."""
    try:
        asked = next(steps)
        while isinstance(asked, Query):
            asked = steps.send(connection.execute(asked.sql, asked.params).fetchall())
        return asked
    except StopIteration as end:
        return Finished(end.value)


async def run_joined_async(connection: Any, steps: Steps[T]) -> T:
    """Run a request in the caller's own transaction. Such a request never waits; an answer has one row at most."""
    try:
        asked = next(steps)
        while True:
            assert isinstance(asked, Query)
            row = await first_row_async(connection, asked.sql, asked.params)
            asked = steps.send([] if row is None else [row])
    except StopIteration as end:
        value: T = end.value
        return value


def run_joined_sync(connection: Any, steps: Steps[T]) -> T:
    """As `run_joined_async`."""
    try:
        asked = next(steps)
        while True:
            assert isinstance(asked, Query)
            row = first_row(connection, asked.sql, asked.params)
            asked = steps.send([] if row is None else [row])
    except StopIteration as end:
        value: T = end.value
        return value


def explained(error: psycopg.Error, settings: Settings) -> AmendsError | None:
    """What an error of a connection of ours means for somebody who did not write our SQL; None: it is no such error."""
    where = without_password(settings.database_url.get_secret_value())
    match error:
        case PoolTimeout():
            return DependencyError(
                f"no connection to {where} within {settings.client_connect_timeout_s:g} s. "
                "`amends doctor` says whether it is reachable; AMENDS_CLIENT_CONNECTIONS_MAX is the pool's size"
            )
        case psycopg.errors.UndefinedTable() | psycopg.errors.InvalidSchemaName() | psycopg.errors.UndefinedFunction():
            return DependencyError(
                f"{where} has no tables of an orchestrator ({error.diag.message_primary}): run `amends migrate`"
            )
    return None


def _refuse_what_stays_so(error: psycopg.OperationalError, settings: Settings) -> None:
    """Raise for a wrong name or password; a server that is starting again is worth the pool's patience."""
    said = " ".join(str(error).split())
    if any(text in said for text in LASTING):
        where = without_password(settings.database_url.get_secret_value())
        raise DependencyError(f"{where}: {said}. Is DATABASE_URL right? A new one needs `amends migrate`") from error
