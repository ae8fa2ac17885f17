"""Orchestration by hand: one service sends commands, hears answers, and keeps a table of where each order is.

amends dev orchestration.py                   python orchestration.py ORDER COUNTRY
"""

import asyncio
import sys

from psycopg import AsyncConnection

import shop
from orchestrator import Event, Handling, Participant, Transaction
from outbox_relay import outbox

checkout, stock = Participant("checkout"), Participant("stock")
payments, courier = Participant("payments"), Participant("courier")


class Answer(Event, topic="checkout", key="order_id"):
    order_id: str
    to: str  # the state that asked
    yes: bool = True


class ReserveStock(Event, topic="stock", key="order_id"):
    order_id: str


class ReleaseStock(Event, topic="stock", key="order_id"):
    order_id: str


class ChargeCard(Event, topic="payments", key="order_id"):
    order_id: str


class RefundCard(Event, topic="payments", key="order_id"):
    order_id: str


class HandOver(Event, topic="courier", key="order_id"):
    order_id: str
    country: str


# (state, yes or no) -> the next state. Each but the last two is left by an answer.
NEXT = {
    ("reserving", True): "charging",
    ("charging", True): "handing over",
    ("handing over", True): "shipped",
    ("handing over", False): "refunding",
    ("refunding", True): "releasing",
    ("releasing", True): "cancelled",
}
TABLE = """
    CREATE TABLE IF NOT EXISTS checkouts (
        order_id text PRIMARY KEY, country text NOT NULL, state text NOT NULL, since timestamptz NOT NULL DEFAULT now()
    )
"""
MOVE = "UPDATE checkouts SET state = %s, since = now() WHERE order_id = %s AND state = %s RETURNING country"


async def place(order_id: str, country: str) -> None:
    async with await AsyncConnection.connect(shop.DATABASE_URL) as ours:
        await ours.execute(TABLE)
        await shop.create(ours, order_id)
        await ours.execute(
            "INSERT INTO checkouts (order_id, country, state) VALUES (%s, %s, 'reserving')", [order_id, country]
        )
        await outbox.add(ours, ReserveStock(order_id=order_id))


@checkout.on(Answer)
async def advance(answer: Answer, tx: Transaction) -> None:
    after = NEXT[answer.to, answer.yes]
    found = await (await tx.connection.execute(MOVE, [after, answer.order_id, answer.to])).fetchone()
    if found is None:
        raise ValueError(f"{answer!r} came to an order that is elsewhere")
    match after:
        case "charging":
            tx.publish(ChargeCard(order_id=answer.order_id))
        case "handing over":
            tx.publish(HandOver(order_id=answer.order_id, country=found[0]))
        case "refunding":
            tx.publish(RefundCard(order_id=answer.order_id))
        case "releasing":
            tx.publish(ReleaseStock(order_id=answer.order_id))
        case "cancelled":
            await shop.cancel(tx.connection, answer.order_id)


@stock.on(ReserveStock)
async def reserve(cmd: ReserveStock, tx: Transaction) -> None:
    await shop.reserve(tx.connection)
    tx.publish(Answer(order_id=cmd.order_id, to="reserving"))


@stock.on(ReleaseStock)
async def release(cmd: ReleaseStock, tx: Transaction) -> None:
    await shop.release(tx.connection)
    tx.publish(Answer(order_id=cmd.order_id, to="releasing"))


@payments.on(ChargeCard, effect="external", timeout_s=2)
async def charge(cmd: ChargeCard, ctx: Handling) -> None:
    await shop.charge_card(cmd.order_id, key=cmd.order_id)
    ctx.publish(Answer(order_id=cmd.order_id, to="charging"))


@payments.on(RefundCard, effect="external", timeout_s=2)
async def refund(cmd: RefundCard, ctx: Handling) -> None:
    await shop.refund_card(cmd.order_id, key=cmd.order_id)
    ctx.publish(Answer(order_id=cmd.order_id, to="refunding"))


@courier.on(HandOver)
async def hand_over(cmd: HandOver, tx: Transaction) -> None:
    taken = await shop.hand_over(tx.connection, cmd.order_id, cmd.country)
    tx.publish(Answer(order_id=cmd.order_id, to="handing over", yes=taken))


if __name__ == "__main__":
    asyncio.run(place(sys.argv[1], sys.argv[2]))
