"""Table amends.inbox_dead: messages that nobody here can read or store. The offset moves on; people see them.

The same message that comes again (its offset was not kept) is no second one; another message at the same offset is (the
topic was made anew).
"""

from typing import TYPE_CHECKING, Any, LiteralString

from orchestrator.participant.requests import DeadRequest

if TYPE_CHECKING:
    from psycopg import AsyncConnection

_INSERT: LiteralString = """
    INSERT INTO amends.inbox_dead (participant, topic, partition, "offset", key, headers, payload, error)
    SELECT r.participant, r.topic, r.partition, r."offset", r.key, r.headers, r.payload, r.error
    FROM (VALUES (%s, %s, %s::int, %s::bigint, %s, %s, %b::bytea, %s))
        AS r(participant, topic, partition, "offset", key, headers, payload, error)
    WHERE NOT EXISTS (
        SELECT FROM amends.inbox_dead d
        WHERE d.participant = r.participant AND d.topic = r.topic AND d.partition = r.partition
          AND d."offset" = r."offset" AND d.headers = r.headers AND d.payload IS NOT DISTINCT FROM r.payload)
"""


async def keep(connection: "AsyncConnection[Any]", participant: str, dead: DeadRequest) -> None:
    """Store one."""
    place = (participant, dead.topic, dead.partition, dead.offset)
    await connection.execute(_INSERT, (*place, dead.key, dead.headers, dead.payload, dead.error))
