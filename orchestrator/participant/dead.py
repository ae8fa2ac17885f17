"""Table amends.inbox_dead: messages that nobody here can read or store. The offset moves on; people see them."""

from typing import TYPE_CHECKING, Any, LiteralString

from orchestrator.participant.requests import DeadRequest

if TYPE_CHECKING:
    from psycopg import AsyncConnection

_INSERT: LiteralString = """
    INSERT INTO amends.inbox_dead (participant, topic, partition, "offset", key, headers, payload, error)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT DO NOTHING
"""


async def keep(connection: "AsyncConnection[Any]", participant: str, dead: DeadRequest) -> None:
    """Store one."""
    place = (participant, dead.topic, dead.partition, dead.offset)
    await connection.execute(_INSERT, (*place, dead.key, dead.headers, dead.payload, dead.error))
