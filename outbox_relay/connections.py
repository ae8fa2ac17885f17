"""One statement on whatever connection the caller has: psycopg or SQLAlchemy, sync or async.

SQLAlchemy is never imported here, only recognised when the caller has imported it: a process that uses psycopg alone
starts without it.
"""

import re
import sys
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, LiteralString, TypeAlias, TypeGuard

import psycopg
from psycopg.rows import tuple_row

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection as SqlConnection
    from sqlalchemy.ext.asyncio import AsyncConnection as AsyncSqlConnection
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session

    Async: TypeAlias = psycopg.AsyncConnection[Any] | AsyncSession | AsyncSqlConnection
    Sync: TypeAlias = psycopg.Connection[Any] | Session | SqlConnection
else:
    Async = Sync = object

Params: TypeAlias = Mapping[str, Any]
Record: TypeAlias = tuple[Any, ...] | None


def is_async(connection: object) -> TypeGuard[Async]:
    """Tell whether statements on this connection are awaited; TypeError when it is none that we know."""
    if isinstance(connection, psycopg.AsyncConnection):
        return True
    if isinstance(connection, psycopg.Connection):
        return False
    if _is_a(connection, "sqlalchemy.ext.asyncio", "AsyncSession", "AsyncConnection"):
        return True
    if _is_a(connection, "sqlalchemy.orm", "Session") or _is_a(connection, "sqlalchemy.engine", "Connection"):
        return False
    raise TypeError(
        f"{type(connection).__module__}.{type(connection).__qualname__} is no connection that the outbox can join. "
        "Pass a psycopg Connection or AsyncConnection, or a SQLAlchemy Session, Connection "
        "or their async kind."
    )


def first_row(connection: Any, sql: LiteralString, params: Params) -> Record:
    """Run `sql` in the caller's transaction and return its first row. `sql` has %(name)s parameters and CASTs."""
    if isinstance(connection, psycopg.Connection):
        # A cursor of our own: the caller's row factory may make dictionaries.
        with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
            return cursor.execute(sql, params).fetchone()
    found = connection.execute(_text(sql), dict(params)).first()
    return None if found is None else tuple(found)


async def first_row_async(connection: Any, sql: LiteralString, params: Params) -> Record:
    """As `first_row`, for the async connections."""
    if isinstance(connection, psycopg.AsyncConnection):
        async with psycopg.AsyncCursor(connection, row_factory=tuple_row) as cursor:
            return await (await cursor.execute(sql, params)).fetchone()
    found = (await connection.execute(_text(sql), dict(params))).first()
    return None if found is None else tuple(found)


def either(connection: object, sql: LiteralString, params: Params) -> Record | Awaitable[Record]:
    """First row now, or something to await, as the connection is."""
    return first_row_async(connection, sql, params) if is_async(connection) else first_row(connection, sql, params)


def _text(sql: LiteralString) -> Any:
    # SQLAlchemy's own parameter style, so that any of its Postgres drivers can run it.
    from sqlalchemy import text

    return text(re.sub(r"%\((\w+)\)s", r":\1", sql).replace("%%", "%"))


def _is_a(connection: object, module: str, *names: str) -> bool:
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(connection, tuple(getattr(loaded, name) for name in names))
