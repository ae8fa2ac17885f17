"""The next order's number: order-1, order-2 … as the order service's book has them, and what this process gave out."""

import asyncio
from typing import LiteralString

import psycopg

from services.floor.sources import CONNECT_TIMEOUT_S

HIGHEST: LiteralString = r"""
    SELECT coalesce(max(CAST(substr(order_id, 7) AS bigint)), 0) FROM orders WHERE order_id ~ '^order-[0-9]{1,15}$'
"""


class Numbers:
    """For one process; a number that another has used is noticed at the start, and the next one is tried."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._last: int | None = None
        self._reading = asyncio.Lock()

    async def next(self) -> int:
        """Raises psycopg.Error before it has read the book once."""
        async with self._reading:
            if self._last is None:
                self._last = await self._highest()
            self._last += 1
            return self._last

    async def _highest(self) -> int:
        connection = await psycopg.AsyncConnection.connect(
            self._url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S
        )
        async with connection:
            row = await (await connection.execute(HIGHEST)).fetchone()
        return int(row[0]) if row else 0
