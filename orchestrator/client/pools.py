"""A client's own connections, and how a request is run on one: async and sync, side by side.

The pools open nothing before the first request. A connection that broke while it lay in the pool (Postgres was started
again) is found when it is taken out and replaced.
"""

from dataclasses import dataclass
from typing import Any, Generic, LiteralString, TypeVar

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolTimeout

from orchestrator.client.known import Answers, Looked, keep
from orchestrator.client.requests import Pause, Steps
from orchestrator.client.statements import Query
from orchestrator.errors import AmendsError, DependencyError
from orchestrator.first_session import TRIAL_S, refuse_old, refuse_what_stays_so, try_session
from orchestrator.settings import Settings, without_password
from outbox_relay.connections import first_row, first_row_async

T = TypeVar("T")

APPLICATION_NAME = "amends client"
AT_ONE_INSTANT: LiteralString = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
IDLE_S = 300.0  # a connection that nobody used for this long is closed


@dataclass(frozen=True, slots=True)
class Finished(Generic[T]):
    """A request came to its end."""

    value: T


async def opened_async_pool(settings: Settings) -> AsyncConnectionPool[AsyncConnection[tuple[Any, ...]]]:
    """A pool for `Client`. Autocommit: each statement of a request is whole by itself.

    A pool only says that it waited in vain; so one connection is tried first, and what no waiting mends is raised.
    """
    url = settings.database_url.get_secret_value()
    try:
        async with await AsyncConnection.connect(url, connect_timeout=TRIAL_S) as connection:
            refuse_old(connection.info, url)
    except psycopg.OperationalError as error:
        refuse_what_stays_so(error, url)
    pool = _async_pool(settings)
    await pool.open()
    return pool


def opened_sync_pool(settings: Settings) -> ConnectionPool[Connection[tuple[Any, ...]]]:
    """A pool for `SyncClient`; as `opened_async_pool`."""
    try_session(settings.database_url.get_secret_value())
    pool = _sync_pool(settings)
    pool.open()
    return pool


def _async_pool(settings: Settings) -> AsyncConnectionPool[AsyncConnection[tuple[Any, ...]]]:
    looked = Looked()

    async def check(connection: AsyncConnection[tuple[Any, ...]]) -> None:
        if looked.is_due(connection):
            await AsyncConnectionPool.check_connection(connection)

    return AsyncConnectionPool(
        settings.database_url.get_secret_value(),
        kwargs={"autocommit": True, "application_name": APPLICATION_NAME},
        min_size=0,
        max_size=settings.client_connections_max,
        timeout=settings.client_connect_timeout_s,
        max_idle=IDLE_S,
        reconnect_timeout=settings.client_connect_timeout_s,
        check=check,
        open=False,
    )


def _sync_pool(settings: Settings) -> ConnectionPool[Connection[tuple[Any, ...]]]:
    looked = Looked()

    def check(connection: Connection[tuple[Any, ...]]) -> None:
        if looked.is_due(connection):
            ConnectionPool.check_connection(connection)

    return ConnectionPool(
        settings.database_url.get_secret_value(),
        kwargs={"autocommit": True, "application_name": APPLICATION_NAME},
        min_size=0,
        max_size=settings.client_connections_max,
        timeout=settings.client_connect_timeout_s,
        max_idle=IDLE_S,
        reconnect_timeout=settings.client_connect_timeout_s,
        check=check,
        open=False,
    )


async def run_async(
    connection: AsyncConnection[tuple[Any, ...]], steps: Steps[T], answers: Answers
) -> Pause | Finished[T]:
    """Run a request, or go on with it after a Pause, until it ends or wants to wait."""
    try:
        asked = next(steps)
        while isinstance(asked, Query):
            if (rows := answers.get(asked.sql)) is None:
                rows = await (await connection.execute(asked.sql, asked.params)).fetchall()
                keep(answers, asked, rows)
            asked = steps.send(rows)
        return asked
    except StopIteration as end:
        return Finished(end.value)


def run_sync(connection: Connection[tuple[Any, ...]], steps: Steps[T], answers: Answers) -> Pause | Finished[T]:
    """As `run_async`."""
    try:
        asked = next(steps)
        while isinstance(asked, Query):
            if (rows := answers.get(asked.sql)) is None:
                rows = connection.execute(asked.sql, asked.params).fetchall()
                keep(answers, asked, rows)
            asked = steps.send(rows)
        return asked
    except StopIteration as end:
        return Finished(end.value)


async def run_joined_async(connection: Any, steps: Steps[T], answers: Answers) -> T:
    """Run a request in the caller's own transaction. Such a request never waits; an answer has one row at most."""
    try:
        asked = next(steps)
        while True:
            assert isinstance(asked, Query)
            if (rows := answers.get(asked.sql)) is None:
                row = await first_row_async(connection, asked.sql, asked.params)
                rows = [] if row is None else [row]
                keep(answers, asked, rows)
            asked = steps.send(rows)
    except StopIteration as end:
        value: T = end.value
        return value


def run_joined_sync(connection: Any, steps: Steps[T], answers: Answers) -> T:
    """As `run_joined_async`."""
    try:
        asked = next(steps)
        while True:
            assert isinstance(asked, Query)
            if (rows := answers.get(asked.sql)) is None:
                row = first_row(connection, asked.sql, asked.params)
                rows = [] if row is None else [row]
                keep(answers, asked, rows)
            asked = steps.send(rows)
    except StopIteration as end:
        value: T = end.value
        return value


def refused(where: str, error: psycopg.Error) -> str:
    """A login that lacks a right."""
    return f"{where}: {error.diag.message_primary}. docs/operations/roles.md says which role may do this"


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
        case psycopg.errors.InsufficientPrivilege():
            return DependencyError(refused(where, error))
    return None
