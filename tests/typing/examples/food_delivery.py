"""A food delivery: every part uses the pattern it needs.

an order and its event, both or none     the outbox           place_order
reserve, charge, dispatch                a saga               checkout (checkout.py)
the call to the payment gateway          key and breaker      charge (payments.py)
e-mail, sales figures                    events               email and analytics, unknown to every saga
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
from checkout import checkout, dispatch
from contracts import (
    Order,
    OrderCancelled,
    OrderPaid,
    OutOfStock,
    Reserved,
    ReserveStock,
)
from orchestrator import App, Breaker, Client, Event, Handling, Participant, Transaction
from outbox_relay import outbox
from payments import payments
from psycopg import AsyncConnection


class OrderPlaced(Event, topic="orders", key="order_id"):
    order_id: str


async def place_order(connection: AsyncConnection, client: Client, order: Order) -> None:
    """The order's row, its event and its saga: all three, or nothing."""
    async with connection.transaction():
        await connection.execute("INSERT INTO orders VALUES (%s, %s)", (order.order_id, order.model_dump_json()))
        await outbox.add(connection, OrderPlaced(order_id=order.order_id))
        await client.start(checkout, order, id=f"order-{order.order_id}", connection=connection)


stock = Participant("stock")


@stock.handles(ReserveStock)
async def reserve(cmd: ReserveStock, tx: Transaction) -> Reserved:
    for item in cmd.items:
        taken = await tx.connection.execute(
            "UPDATE stock SET quantity = quantity - %s WHERE sku = %s AND quantity >= %s",
            (item.quantity, item.sku, item.quantity),
        )
        if taken.rowcount == 0:
            raise OutOfStock(sku=item.sku, left=0)  # what was taken before is rolled back
    await tx.connection.execute("INSERT INTO reservations VALUES (%s)", (cmd.order_id,))
    return Reserved(reservation=cmd.order_id)


@reserve.undo
async def release(cmd: ReserveStock, reserved: Reserved, tx: Transaction) -> None:
    for item in cmd.items:
        await tx.connection.execute(
            "UPDATE stock SET quantity = quantity + %s WHERE sku = %s", (item.quantity, item.sku)
        )
    await tx.connection.execute("DELETE FROM reservations WHERE order_id = %s", (reserved.reservation,))


@asynccontextmanager
async def open_mail() -> AsyncGenerator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url="http://mail.internal") as mail:
        yield mail


email = Participant("email", lifespan=open_mail)


@email.on(OrderPaid, effect="external", breaker=Breaker("mail"))
async def thank(event: OrderPaid, ctx: Handling[httpx.AsyncClient]) -> None:
    await ctx.deps.post("/send", json={"to": event.customer}, headers={"Idempotency-Key": ctx.key})


analytics = Participant("analytics")


@analytics.on(OrderPaid)
async def count(event: OrderPaid, tx: Transaction) -> None:
    await tx.connection.execute("INSERT INTO sales (order_id) VALUES (%s)", (event.order_id,))


@analytics.on(OrderCancelled)
async def uncount(event: OrderCancelled, tx: Transaction) -> None:
    await tx.connection.execute("DELETE FROM sales WHERE order_id = %s", (event.order_id,))


app = App(sagas=[checkout, dispatch], participants=[stock, payments, email, analytics])
