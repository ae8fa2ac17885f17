"""Choreography: each service reacts to the events of the others, and nobody knows the whole.

amends dev choreography.py                    python choreography.py ORDER COUNTRY
"""

import asyncio
import sys

from psycopg import AsyncConnection

import shop
from orchestrator import Event, Handling, Participant, Transaction
from outbox_relay import outbox

orders, stock = Participant("orders"), Participant("stock")
payments, courier = Participant("payments"), Participant("courier")


class OrderPlaced(Event, topic="orders", key="order_id"):
    order_id: str
    country: str


class StockReserved(Event, topic="stock", key="order_id"):
    order_id: str
    country: str  # nothing to the stock: the courier will need it


class CardCharged(Event, topic="payments", key="order_id"):
    order_id: str
    country: str


class ParcelRefused(Event, topic="courier", key="order_id"):
    order_id: str


class CardRefunded(Event, topic="payments", key="order_id"):
    order_id: str


async def place(order_id: str, country: str) -> None:
    async with await AsyncConnection.connect(shop.DATABASE_URL) as ours:
        await shop.create(ours, order_id)
        await outbox.add(ours, OrderPlaced(order_id=order_id, country=country))


@stock.on(OrderPlaced)
async def reserve(event: OrderPlaced, tx: Transaction) -> None:
    await shop.reserve(tx.connection)
    tx.publish(StockReserved(order_id=event.order_id, country=event.country))


@payments.on(StockReserved, effect="external", timeout_s=2)
async def charge(event: StockReserved, ctx: Handling) -> None:
    await shop.charge_card(event.order_id, key=event.order_id)
    ctx.publish(CardCharged(order_id=event.order_id, country=event.country))


@courier.on(CardCharged)
async def hand_over(event: CardCharged, tx: Transaction) -> None:
    if not await shop.hand_over(tx.connection, event.order_id, event.country):
        tx.publish(ParcelRefused(order_id=event.order_id))


# The way back, in the services that went forward.


@payments.on(ParcelRefused, effect="external", timeout_s=2)
async def refund(event: ParcelRefused, ctx: Handling) -> None:
    await shop.refund_card(event.order_id, key=event.order_id)
    ctx.publish(CardRefunded(order_id=event.order_id))


@stock.on(CardRefunded)
async def release(event: CardRefunded, tx: Transaction) -> None:
    await shop.release(tx.connection)


@orders.on(CardRefunded)
async def cancel(event: CardRefunded, tx: Transaction) -> None:
    await shop.cancel(tx.connection, event.order_id)


if __name__ == "__main__":
    asyncio.run(place(sys.argv[1], sys.argv[2]))
