"""A table of states, and workers that poll it.   python state_machine.py place ORDER COUNTRY | work"""

import asyncio
import sys

from psycopg import AsyncConnection

import shop

POLL_S = 0.2
TABLE = """
    CREATE TABLE IF NOT EXISTS checkouts (
        order_id text PRIMARY KEY, country text NOT NULL, state text NOT NULL, since timestamptz NOT NULL DEFAULT now()
    )
"""
NEXT = """
    SELECT order_id, country, state FROM checkouts WHERE state NOT IN ('shipped', 'cancelled')
    ORDER BY since LIMIT 1 FOR UPDATE SKIP LOCKED
"""
MOVE = "UPDATE checkouts SET state = %s, since = now() WHERE order_id = %s AND state = %s"


async def place(order_id: str, country: str) -> None:
    async with await AsyncConnection.connect(shop.DATABASE_URL) as ours:
        await ours.execute(TABLE)
        await shop.create(ours, order_id)
        await ours.execute(
            "INSERT INTO checkouts (order_id, country, state) VALUES (%s, %s, 'created')", [order_id, country]
        )


async def advance(ours: shop.Connection) -> bool:
    """Take one order one state further; False if there is none."""
    async with ours.transaction():
        found = await (await ours.execute(NEXT)).fetchone()
        if found is None:
            return False
        order_id, country, state = found
        after = await leave(ours, order_id, country, state)
        await ours.execute(MOVE, [after, order_id, state])
    return True


async def leave(ours: shop.Connection, order_id: str, country: str, state: str) -> str:
    """Do what this state waits for; the next state."""
    match state:
        case "created":
            await shop.reserve(ours)
            return "reserved"
        case "reserved":
            await shop.charge_card(order_id, key=order_id)  # may be done twice: only the key makes it one charge
            return "charged"
        case "charged":
            return "shipped" if await shop.hand_over(ours, order_id, country) else "refused"
        case "refused":
            await shop.refund_card(order_id, key=order_id)
            return "refunded"
        case "refunded":
            await shop.release(ours)
            await shop.cancel(ours, order_id)
            return "cancelled"
        case _:
            raise ValueError(f"{order_id} is in state {state!r}, which this version does not know")


async def work() -> None:
    async with await AsyncConnection.connect(shop.DATABASE_URL, autocommit=True) as ours:
        while True:
            if not await advance(ours):
                await asyncio.sleep(POLL_S)


if __name__ == "__main__":
    asyncio.run(work() if sys.argv[1] == "work" else place(sys.argv[2], sys.argv[3]))
