"""The shop of all five patterns: what each step does to whose tables. They differ in who calls these, and in who
remembers how far an order is.

The shop has one database, DATABASE_URL. The bank is another company and has its own, BANK_URL: what is charged there is
committed there, and a key that it has seen charges nothing again.

    python shop.py open     tables, and ten pens on the shelf
    python shop.py look     every order, what was paid for it, whether there is a parcel, and the shelf
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncConnection

Connection = AsyncConnection[Any]
DATABASE_URL, BANK_URL = os.environ["DATABASE_URL"], os.environ["BANK_URL"]
PRICE = 45
NO_COURIER_GOES_TO = ("Atlantis",)


async def create(shop: Connection, order_id: str) -> None:
    await shop.execute("INSERT INTO orders (id, status) VALUES (%s, 'open')", [order_id])


async def cancel(shop: Connection, order_id: str) -> None:
    await shop.execute("UPDATE orders SET status = 'cancelled' WHERE id = %s AND status = 'open'", [order_id])


async def reserve(shop: Connection) -> None:
    await shop.execute("UPDATE shelf SET pens = pens - 1")


async def release(shop: Connection) -> None:
    await shop.execute("UPDATE shelf SET pens = pens + 1")


async def hand_over(shop: Connection, order_id: str, country: str) -> bool:
    """Whether a courier took it."""
    if country in NO_COURIER_GOES_TO:
        return False
    await shop.execute("INSERT INTO parcels (order_id, country) VALUES (%s, %s)", [order_id, country])
    await shop.execute("UPDATE orders SET status = 'shipped' WHERE id = %s AND status = 'open'", [order_id])
    return True


async def charge(bank: Connection, order_id: str, key: str) -> None:
    await book(bank, order_id, key, PRICE)


async def charge_card(order_id: str, key: str) -> None:
    """As a call to a gateway: when this returns, it is paid, whatever becomes of us."""
    async with at_bank() as bank:
        await charge(bank, order_id, key)
    fault("after-charge")


async def refund_card(order_id: str, key: str) -> None:
    async with at_bank() as bank:
        await book(bank, order_id, f"{key}:refund", -PRICE)


async def is_charged(key: str) -> bool:
    async with at_bank() as bank:
        found = await bank.execute("SELECT 1 FROM payments WHERE key = %s", [key])
        return await found.fetchone() is not None


async def book(bank: Connection, order_id: str, key: str, amount: int) -> None:
    await bank.execute(
        "INSERT INTO payments (key, order_id, amount) VALUES (%s, %s, %s) ON CONFLICT (key) DO NOTHING",
        [key, order_id, amount],
    )


@asynccontextmanager
async def at_bank() -> AsyncGenerator[Connection]:
    async with await AsyncConnection.connect(BANK_URL, autocommit=True) as bank:
        yield bank


def fault(point: str) -> None:
    """The power goes at this point, if FAULT names it: nothing after it runs, no `finally`, no goodbye."""
    if os.environ.get("FAULT") == point:
        os.kill(os.getpid(), signal.SIGKILL)


SHOP_TABLES = """
    CREATE TABLE orders (id text PRIMARY KEY, status text NOT NULL);
    CREATE TABLE shelf (pens int NOT NULL CHECK (pens >= 0));
    CREATE TABLE parcels (order_id text PRIMARY KEY, country text NOT NULL);
    INSERT INTO shelf (pens) VALUES (10);
"""
BANK_TABLES = "CREATE TABLE payments (key text PRIMARY KEY, order_id text NOT NULL, amount int NOT NULL)"


async def open_shop() -> None:
    async with await AsyncConnection.connect(DATABASE_URL) as shop, at_bank() as bank:
        await shop.execute(SHOP_TABLES)
        await bank.execute(BANK_TABLES)


async def look() -> None:
    async with await AsyncConnection.connect(DATABASE_URL) as shop, at_bank() as bank:
        answer = await bank.execute("SELECT order_id, sum(amount) FROM payments GROUP BY order_id")
        paid = dict(await answer.fetchall())
        orders = await shop.execute(
            "SELECT id, status, order_id IS NOT NULL FROM orders LEFT JOIN parcels ON order_id = id ORDER BY id"
        )
        async for order_id, status, parcel in orders:
            print(f"{order_id}: {status}, paid RM {paid.get(order_id, 0)}.00, {'a' if parcel else 'no'} parcel")
        async for (pens,) in await shop.execute("SELECT pens FROM shelf"):
            print(f"on the shelf: {pens}")


if __name__ == "__main__":
    asyncio.run({"open": open_shop, "look": look}[sys.argv[1]]())
