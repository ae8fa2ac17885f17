"""At the edge, in whatever framework: start a saga in the request's own transaction, answer, hand a webhook on."""

from checkout import checkout
from contracts import Order, PaymentSettled
from orchestrator import Client, SyncClient
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session

client = Client()
sessions = async_sessionmaker(create_async_engine("postgresql+psycopg://shop"))


async def place(order: Order) -> tuple[int, str]:
    """POST /orders"""
    async with sessions.begin() as db:
        await insert(db, order)
        started = await client.start(checkout, order, id=f"order-{order.order_id}", connection=db)
    return (200 if started.created is False else 201), started.id  # 200: this order was placed before


async def insert(db: AsyncSession, order: Order) -> None:
    await db.execute(text("INSERT INTO orders VALUES (:id)"), {"id": order.order_id})


async def status(order_id: str) -> str | None:
    """GET /orders/{order_id}"""
    return await client.get(f"order-{order_id}", "status", str)


async def settled(order_id: str, delivery: str, payment: PaymentSettled) -> None:
    """POST /webhooks/payments/{order_id}"""
    await client.send(f"order-{order_id}", payment, message_id=delivery)


def place_in_a_script(db: Session, amends: SyncClient, order: Order) -> str:
    """The same without await."""
    with db.begin():
        db.execute(text("INSERT INTO orders VALUES (:id)"), {"id": order.order_id})
        return amends.start(checkout, order, id=f"order-{order.order_id}", connection=db).id
