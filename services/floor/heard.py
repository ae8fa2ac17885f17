"""What those who only listen have made of the orders: sums, mails, receipts. Each is read where it was written.

They hear events, some time after the fact, and a page that shows them shows that, too.
"""

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from services.floor.limits import MAILS_MAX
from services.floor.sources import CONNECT_TIMEOUT_S

SUMS: LiteralString = """
    SELECT count(*), count(*) FILTER (WHERE is_cancelled), coalesce(sum(paid) FILTER (WHERE NOT is_cancelled), 0)
    FROM sales
"""
RECEIPT: LiteralString = "SELECT pdf FROM receipts WHERE order_id = %(order_id)s"
MAILS: LiteralString = """
    SELECT recipient, subject, text, at FROM mails WHERE order_id = ? OR ? = '' ORDER BY at DESC, rowid DESC LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class Heard:
    """Where their books are. Each look has a connection of its own: a person asks, not a loop."""

    analytics_url: str
    receipts_url: str
    mailbox: Path

    async def sums(self) -> Mapping[str, Any]:
        """What the analytics service has counted. Raises psycopg.Error."""
        orders, cancelled, revenue = (await _rows(self.analytics_url, SUMS))[0]
        return {"orders": orders, "cancelled": cancelled, "revenue": f"{revenue:.2f}"}

    async def receipt(self, order_id: str) -> bytes | None:
        """The PDF; None if it is not made yet, or never will be. Raises psycopg.Error."""
        rows = await _rows(self.receipts_url, RECEIPT, {"order_id": order_id})
        return bytes(rows[0][0]) if rows else None

    async def mails(self, order_id: str) -> Sequence[Mapping[str, Any]]:
        """What the mail server was given for this order (for any, if it is empty), the newest first.

        Raises sqlite3.Error.
        """
        return await asyncio.to_thread(self._mails, order_id)

    def _mails(self, order_id: str) -> Sequence[Mapping[str, Any]]:
        if not self.mailbox.exists():
            return []
        connection = sqlite3.connect(f"file:{self.mailbox}?mode=ro", uri=True)
        try:
            rows = connection.execute(MAILS, (order_id, order_id, MAILS_MAX)).fetchall()
        finally:
            connection.close()
        return [
            {"to": to, "subject": subject, "at": datetime.fromtimestamp(at_s, UTC).isoformat(), "text": text}
            for to, subject, text, at_s in rows
        ]


async def _rows(url: str, query: LiteralString, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
    connection = await psycopg.AsyncConnection.connect(url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S)
    async with connection:
        return await (await connection.execute(query, values)).fetchall()
