"""Reads the services' own tables: what was written since the last look, by time.

A row's time is taken when it is written, and the row is seen when its transaction commits, so a later row may be seen
first. Each look therefore begins where the oldest transaction began that was running at the look before it: whatever
was not seen then has a time after that.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row

from services.floor.ledger import Ledger, OrderRow
from services.floor.limits import ORDERS_MAX
from services.floor.pace import Pace

Row = Mapping[str, Any]
Connection = psycopg.AsyncConnection[dict[str, Any]]
CONNECT_TIMEOUT_S = 2

FLOOR: LiteralString = """
    SELECT coalesce(min(xact_start), statement_timestamp()) AS floor
    FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
NEWEST: LiteralString = """
    SELECT key, order_id, customer, total, created_at, paid_at, delivered_at, cancelled_at
    FROM orders ORDER BY created_at DESC LIMIT CAST(%(rows_max)s AS int)
"""
KNOWN: LiteralString = "SELECT order_id FROM orders WHERE order_id = ANY(%(order_ids)s)"


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a service: all rows of some orders, and all rows since a time."""

    service: str
    of_orders: LiteralString
    since: LiteralString
    take: Callable[[Row, Ledger, Pace], None]


def take_order(row: Row, ledger: Ledger, pace: Pace) -> None:
    ledger.order(
        OrderRow(
            order_id=row["order_id"],
            customer=row["customer"],
            cents=cents_of(row["total"]),
            placed_at=row["created_at"],
            is_delivered=row["delivered_at"] is not None,
            is_cancelled=row["cancelled_at"] is not None,
        )
    )
    for done in ("created_at", "paid_at", "delivered_at"):
        pace.step("forward", f"{row['key']} {done}", row[done])
    pace.step("back", row["key"], row["cancelled_at"])


def take_movement(row: Row, ledger: Ledger, pace: Pace) -> None:
    ledger.moved(row["order_id"], row["movement"], row["change"])
    pace.step("forward" if row["change"] < 0 else "back", row["key"], row["at"])


def take_parcel(row: Row, _ledger: Ledger, pace: Pace) -> None:
    pace.step("forward", row["key"], row["packed_at"])
    pace.step("back", row["key"], row["unpacked_at"])


def take_shipment(row: Row, ledger: Ledger, pace: Pace) -> None:
    ledger.shipped(row["order_id"], row["key"], stands=row["recalled_at"] is None)
    pace.step("forward", row["key"], row["accepted_at"])
    pace.step("back", row["key"], row["recalled_at"])


def take_label(row: Row, _ledger: Ledger, pace: Pace) -> None:
    pace.step("forward", row["key"], row["printed_at"])
    pace.step("back", row["key"], row["voided_at"])


def take_ride(row: Row, _ledger: Ledger, pace: Pace) -> None:
    pace.step("forward", row["key"], row["booked_at"])
    pace.step("back", row["key"], row["called_off_at"])


ORDERS = Table(
    "orders",
    """SELECT key, order_id, customer, total, created_at, paid_at, delivered_at, cancelled_at
       FROM orders WHERE order_id = ANY(%(order_ids)s)""",
    """SELECT key, order_id, customer, total, created_at, paid_at, delivered_at, cancelled_at
       FROM orders WHERE
           created_at >= %(since)s OR paid_at >= %(since)s OR delivered_at >= %(since)s OR cancelled_at >= %(since)s""",
    take_order,
)
SHIPMENTS = Table(
    "shipping",
    """SELECT key, order_id, accepted_at, recalled_at
       FROM shipments WHERE order_id = ANY(%(order_ids)s)""",
    """SELECT key, order_id, accepted_at, recalled_at
       FROM shipments WHERE accepted_at >= %(since)s OR recalled_at >= %(since)s""",
    take_shipment,
)
PARCELS = Table(
    "shipping",
    """SELECT key, packed_at, unpacked_at
       FROM parcels WHERE order_id = ANY(%(order_ids)s)""",
    """SELECT key, packed_at, unpacked_at
       FROM parcels WHERE packed_at >= %(since)s OR unpacked_at >= %(since)s""",
    take_parcel,
)
LABELS = Table(
    "shipping",
    """SELECT key, printed_at, voided_at
       FROM labels WHERE order_id = ANY(%(order_ids)s)""",
    """SELECT key, printed_at, voided_at
       FROM labels WHERE printed_at >= %(since)s OR voided_at >= %(since)s""",
    take_label,
)
RIDES = Table(
    "shipping",
    """SELECT key, booked_at, called_off_at
       FROM rides WHERE order_id = ANY(%(order_ids)s)""",
    """SELECT key, booked_at, called_off_at
       FROM rides WHERE booked_at >= %(since)s OR called_off_at >= %(since)s""",
    take_ride,
)
MOVEMENTS = Table(
    "stock",
    """SELECT movement, key, order_id, change, at
       FROM movements WHERE order_id = ANY(%(order_ids)s)""",
    """SELECT movement, key, order_id, change, at
       FROM movements WHERE at >= %(since)s""",
    take_movement,
)
STATES = (ORDERS, SHIPMENTS)
"""They say whether an order is open, and are read before the gateway's book."""
GOODS = (MOVEMENTS, PARCELS, LABELS, RIDES)


class Sources:
    """A connection to each service's database, opened when it is needed. Raises psycopg.Error; `close` after that."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = urls
        self._connections: dict[str, Connection] = {}
        self._floors: dict[Table, datetime] = {}

    async def newest(self, ledger: Ledger, pace: Pace) -> list[str]:
        """Read the newest orders; return their ids."""
        floors = await self._floors_of([ORDERS])
        rows = await self._rows("orders", NEWEST, {"rows_max": ORDERS_MAX})
        for row in rows:
            take_order(row, ledger, pace)
        self._floors |= floors
        return [row["order_id"] for row in rows]

    async def all_of(self, tables: Sequence[Table], order_ids: Sequence[str], ledger: Ledger, pace: Pace) -> None:
        """Read all rows of these orders; from then on `news` goes on."""
        floors = await self._floors_of(tables)
        for table in tables:
            for row in await self._rows(table.service, table.of_orders, {"order_ids": [*order_ids]}):
                table.take(row, ledger, pace)
        self._floors |= floors

    async def news(self, tables: Sequence[Table], ledger: Ledger, pace: Pace) -> None:
        """Read what was written since the last look, and perhaps a little again."""
        floors = await self._floors_of(tables)
        for table in tables:
            for row in await self._rows(table.service, table.since, {"since": self._floors[table]}):
                table.take(row, ledger, pace)
        self._floors |= floors

    async def known(self, order_ids: Sequence[str]) -> list[str]:
        """Which of them the order service has written down, however long ago."""
        rows = await self._rows("orders", KNOWN, {"order_ids": [*order_ids]})
        return [row["order_id"] for row in rows]

    async def close(self) -> None:
        """Close what is open; the next look opens it again, and goes on where the last good one was."""
        connections, self._connections = self._connections, {}
        for connection in connections.values():
            await connection.close()

    async def _floors_of(self, tables: Iterable[Table]) -> dict[Table, datetime]:
        """Where the next look at them has to begin; asked before this one."""
        services = dict.fromkeys(table.service for table in tables)
        floors = {service: (await self._rows(service, FLOOR, {}))[0]["floor"] for service in services}
        return {table: floors[table.service] for table in tables}

    async def _rows(self, service: str, query: LiteralString, values: Row) -> list[dict[str, Any]]:
        connection = self._connections.get(service)
        if connection is None:
            connection = await psycopg.AsyncConnection.connect(
                self._urls[service], autocommit=True, row_factory=dict_row, connect_timeout=CONNECT_TIMEOUT_S
            )
            self._connections[service] = connection
        return await (await connection.execute(query, values)).fetchall()


def cents_of(ringgit: Decimal) -> int:
    return int(ringgit * 100)
