"""Add a row to the outbox in the caller's own transaction."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, overload
from uuid import UUID

from outbox_relay import table, topics
from outbox_relay.connections import Record, first_row, first_row_async, is_async
from outbox_relay.rows import Publishable, Row

if TYPE_CHECKING:
    from outbox_relay.connections import Async, Sync


@overload
def add(connection: "Async", event: Row | Publishable, /) -> Coroutine[Any, Any, UUID]: ...
@overload
def add(connection: "Sync", event: Row | Publishable, /) -> UUID: ...
def add(connection: Any, event: Row | Publishable, /) -> UUID | Coroutine[Any, Any, UUID]:
    """Add `event` to the outbox: it leaves if, and only if, your transaction commits. Await it on an async connection.

    Returns the id that receivers know doubles by. Raises RowRefused for a row that could never be delivered (too large,
    unknown topic or header); your transaction is then as it was.
    """
    wait = getattr(event, "__outbox_wait__", None)
    if wait is not None and is_async(connection) and (blocking := wait()) is not None:
        return _add_after(connection, event, blocking)
    row = event if isinstance(event, Row) else event.__outbox__()
    params = table.insert_one_params(row)
    return _add_async(connection, row, params) if is_async(connection) else _add(connection, row, params)


def _add(connection: Any, row: Row, params: dict[str, Any]) -> UUID:
    added = first_row(connection, table.INSERT_ONE, params)
    if added is None:
        raise table.why_refused(row, _count(first_row(connection, topics.SELECT_PARTITIONS, {"topic": row.topic})))
    return _uuid(added)


async def _add_after(connection: Any, event: Any, blocking: Callable[[], None]) -> UUID:
    """What the event has to wait for happens beside the event loop."""
    await asyncio.to_thread(blocking)
    row = event.__outbox__()
    return await _add_async(connection, row, table.insert_one_params(row))


async def _add_async(connection: Any, row: Row, params: dict[str, Any]) -> UUID:
    added = await first_row_async(connection, table.INSERT_ONE, params)
    if added is None:
        known = await first_row_async(connection, topics.SELECT_PARTITIONS, {"topic": row.topic})
        raise table.why_refused(row, _count(known))
    return _uuid(added)


def _count(found: Record) -> int | None:
    return None if found is None else int(found[0])


def _uuid(added: Record) -> UUID:
    assert added is not None
    # psycopg gives a UUID, other drivers below SQLAlchemy may give text.
    return added[0] if isinstance(added[0], UUID) else UUID(str(added[0]))
