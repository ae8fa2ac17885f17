"""What the analytics service counted, from its own table."""

from collections.abc import Mapping
from typing import Any, LiteralString

import psycopg

from services.floor.sources import CONNECT_TIMEOUT_S

COUNTS: LiteralString = "SELECT outcome, count(*) FROM outcomes GROUP BY outcome"


class AnalyticsBook:
    """One look at a time, with a connection of its own: a person asks, not a loop."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url

    async def read(self) -> dict[str, Any]:
        """Raises psycopg.Error."""
        connection = await psycopg.AsyncConnection.connect(
            self._url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S
        )
        async with connection:
            counts: Mapping[str, int] = dict(await (await connection.execute(COUNTS)).fetchall())
        return {"orders": counts.get("paid", 0), "cancelled": counts.get("cancelled", 0)}
