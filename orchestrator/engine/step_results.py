"""Table step_result: the fence of a transactional step, in the database that the step writes to.

Its first statement claims the key; the user's statements, the result and the key commit together. A second run of the
same step (a zombie, a takeover, a COMMIT without an answer) finds the key and takes the stored result instead.
"""

import importlib.resources
import json
from collections.abc import Awaitable, Callable
from typing import Any, LiteralString

import psycopg

from orchestrator.core.entries import Json
from orchestrator.failpoints import failpoint

_CREATE = "CREATE SCHEMA IF NOT EXISTS amends;" + (
    importlib.resources.files("orchestrator.engine").joinpath("sql", "step_result.sql").read_text("utf-8")
)
_CLAIM: LiteralString = """
    INSERT INTO amends.step_result (operation_key) VALUES (%s) ON CONFLICT (operation_key) DO NOTHING
"""
_STORED: LiteralString = "SELECT result FROM amends.step_result WHERE operation_key = %s"
_STORE: LiteralString = "UPDATE amends.step_result SET result = %s WHERE operation_key = %s"


class TransactionRefused(psycopg.ProgrammingError):
    """A step's function tried to end the transaction that is not its own."""


def _refuse(*_: Any, **__: Any) -> Any:
    raise TransactionRefused(
        "s.transaction commits for you, together with the result: return to commit, raise to roll back. "
        "For a part that may fail alone use a savepoint: `with connection.transaction():`"
    )


class GuardedConnection(psycopg.Connection[Any]):
    """What a sync transactional step gets: commit, rollback and close are refused."""

    commit = rollback = close = _refuse


class GuardedAsyncConnection(psycopg.AsyncConnection[Any]):
    """The same for an async one."""

    commit = rollback = close = _refuse


def run(url: str, key: str, work: Callable[[psycopg.Connection[Any]], Json]) -> Json:
    """Run `work` once for `key`; the stored result if it has run. Raises what `work` raises, rolled back."""
    connection = GuardedConnection.connect(url, autocommit=True)
    try:
        _ensure_table(connection)
        with connection.transaction():
            if connection.execute(_CLAIM, (key,)).rowcount == 0:
                row = connection.execute(_STORED, (key,)).fetchone()
                return None if row is None or row[0] is None else json.loads(row[0])
            result = work(connection)
            connection.execute(_STORE, (json.dumps(result), key))
            failpoint("step.transaction.before")
        failpoint("step.transaction.after")
        return result
    finally:
        psycopg.Connection.close(connection)


async def run_async(url: str, key: str, work: Callable[[psycopg.AsyncConnection[Any]], Awaitable[Json]]) -> Json:
    """The same for an async function."""
    connection = await GuardedAsyncConnection.connect(url, autocommit=True)
    try:
        row = await (await connection.execute("SELECT to_regclass('amends.step_result')")).fetchone()
        if row is None or row[0] is None:
            await connection.execute(_CREATE.encode())
        async with connection.transaction():
            if (await connection.execute(_CLAIM, (key,))).rowcount == 0:
                stored = await (await connection.execute(_STORED, (key,))).fetchone()
                return None if stored is None or stored[0] is None else json.loads(stored[0])
            result = await work(connection)
            await connection.execute(_STORE, (json.dumps(result), key))
            failpoint("step.transaction.before")
        failpoint("step.transaction.after")
        return result
    finally:
        await psycopg.AsyncConnection.close(connection)


def _ensure_table(connection: psycopg.Connection[Any]) -> None:
    row = connection.execute("SELECT to_regclass('amends.step_result')").fetchone()
    if row is None or row[0] is None:
        connection.execute(_CREATE.encode())
