"""Two-phase commit: two databases say "I can", then both are told "do".   python two_phase_commit.py ORDER COUNTRY"""

import asyncio
import sys
import time

from psycopg import AsyncConnection

import shop


async def place(order_id: str, country: str) -> bool:
    """Whether it was placed; if not, nothing happened anywhere."""
    async with (
        await AsyncConnection.connect(shop.DATABASE_URL) as ours,
        await AsyncConnection.connect(shop.BANK_URL) as bank,
    ):
        await ours.tpc_begin(f"{order_id}-shop")
        await bank.tpc_begin(f"{order_id}-bank")
        await shop.create(ours, order_id)
        await shop.reserve(ours)
        await shop.charge(bank, order_id, key=order_id)
        if not await shop.hand_over(ours, order_id, country):
            await ours.tpc_rollback()
            await bank.tpc_rollback()
            return False
        await ours.tpc_prepare()  # from here on neither database may change its mind, and both hold their locks
        await bank.tpc_prepare()
        shop.fault("after-charge")
        await ours.tpc_commit()
        await bank.tpc_commit()
        return True


if __name__ == "__main__":
    began = time.monotonic()
    placed = asyncio.run(place(sys.argv[1], sys.argv[2]))
    print(f"{sys.argv[1]}: {'placed' if placed else 'refused'} after {time.monotonic() - began:.1f}s")
