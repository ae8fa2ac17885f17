"""The services that these tests run: stock (local) and payments (external), on tables of their own."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import httpx

from orchestrator.contracts import Command, Event, Message
from orchestrator.errors import Failure, Transient
from orchestrator.participant import Breaker, Handling, Participant, Transaction

TABLES = """
    CREATE TABLE stock (item text PRIMARY KEY, available int NOT NULL CHECK (available >= 0));
    CREATE TABLE reservations (order_id text PRIMARY KEY, item text NOT NULL, quantity int NOT NULL);
    CREATE TABLE charges (
        charge_id text PRIMARY KEY, order_id text NOT NULL, amount int NOT NULL, refund_id text);
    CREATE TABLE seen (event_key text, order_id text, n int);
    INSERT INTO stock VALUES ('book', 1000), ('pen', 1000);
"""


class Reserved(Message):
    reservation: str


class OutOfStock(Failure):
    item: str


class ReserveStock(Command[Reserved], service="stock"):
    order_id: str
    item: str = "book"
    quantity: int = 1
    trouble: str = ""


class Count(Command[int], service="stock", undo=False):
    item: str


class OrderPaid(Event, topic="orders", key="order_id"):
    order_id: str
    trouble: str = ""


class StockLow(Event, topic="stock-events", key="item"):
    item: str


stock = Participant("stock")


@stock.handles(ReserveStock)
async def reserve(cmd: ReserveStock, tx: Transaction) -> Reserved:
    await tx.connection.execute("INSERT INTO reservations VALUES (%s, %s, %s)", (cmd.order_id, cmd.item, cmd.quantity))
    cursor = await tx.connection.execute(
        "UPDATE stock SET available = available - %s WHERE item = %s AND available >= %s",
        (cmd.quantity, cmd.item, cmd.quantity),
    )
    if cursor.rowcount == 0:
        raise OutOfStock(item=cmd.item)
    match cmd.trouble:
        case "commit":
            await tx.connection.commit()
        case "sql commit":
            await tx.connection.execute("COMMIT")
        case "session commit":
            await tx.session.commit()
        case "transient":
            raise Transient("the shelf is being painted", retry_after_s=1.5)
        case "bug":
            raise ZeroDivisionError("a bug")
        case "publish":
            tx.publish(StockLow(item=cmd.item))
        case "swallow":
            with suppress(Exception):
                await tx.connection.execute("SELECT 1/0")
    return Reserved(reservation=f"r-{cmd.order_id}")


@reserve.undo
async def release(cmd: ReserveStock, reserved: Reserved, tx: Transaction) -> None:
    assert reserved.reservation == f"r-{cmd.order_id}"
    await tx.connection.execute("DELETE FROM reservations WHERE order_id = %s", (cmd.order_id,))
    await tx.connection.execute("UPDATE stock SET available = available + %s WHERE item = %s", (cmd.quantity, cmd.item))


@stock.handles(Count)
async def count(cmd: Count, tx: Transaction) -> int:
    from sqlalchemy import text

    found = await tx.session.execute(text("SELECT available FROM stock WHERE item = :item"), {"item": cmd.item})
    return int(found.scalar_one())


@stock.on(OrderPaid)
async def note(event: OrderPaid, tx: Transaction) -> None:
    if event.trouble == "always":
        raise RuntimeError("never works")
    if event.trouble == "once":
        n = await (
            await tx.connection.execute("SELECT count(*) FROM amends.inbox_events WHERE attempts > 1")
        ).fetchone()
        if not n[0]:
            raise RuntimeError("not yet")
    await tx.connection.execute("INSERT INTO seen VALUES (%s, %s, 1)", (tx.key, event.order_id))


# --- payments


class Charged(Message):
    charge_id: str


class Refunded(Message):
    refund_id: str


class CardDeclined(Failure):
    reason: str


class ChargeCard(Command[Charged], service="payments"):
    order_id: str
    amount: int = 45
    record_trouble: str = ""


@dataclass(frozen=True)
class Deps:
    gateway: httpx.AsyncClient


@asynccontextmanager
async def open_gateway() -> AsyncIterator[Deps]:
    async with httpx.AsyncClient(base_url=os.environ["GATEWAY_URL"], timeout=60) as gateway:
        yield Deps(gateway)


async def find(cmd: ChargeCard, ctx: Handling[Deps]) -> Charged | None:
    answer = await ctx.deps.gateway.get("/charges", params={"key": ctx.key})
    found = answer.raise_for_status().json()
    return Charged(charge_id=found[0]["id"]) if found else None


def make_payments(
    *,
    timeout_s: float = 2.0,
    longest_delay_s: float = 1.0,
    lookup: bool = True,
    pin: bool = False,
    breaker: Breaker | None = None,
    concurrency: int = 20,
) -> Participant[Deps]:
    payments = Participant("payments", lifespan=open_gateway)

    @payments.handles(
        ChargeCard,
        effect="external",
        timeout_s=timeout_s,
        longest_delay_s=longest_delay_s,
        breaker=breaker,
        concurrency=concurrency,
        **({"lookup": find} if lookup else {}),
        in_doubt="pin" if pin else "wait",
    )
    async def charge(cmd: ChargeCard, ctx: Handling[Deps]) -> Charged:
        answer = await ctx.deps.gateway.post(
            "/charges", json={"amount": cmd.amount}, headers={"Idempotency-Key": ctx.key}
        )
        if answer.status_code == 402:
            raise CardDeclined(reason=answer.text)
        if answer.status_code == 429:
            raise Transient("slow down", retry_after_s=0.7)
        answer.raise_for_status()
        ctx.publish(OrderPaid(order_id=cmd.order_id))
        return Charged(charge_id=answer.json()["id"])

    @charge.record
    async def book(cmd: ChargeCard, charged: Charged, tx: Transaction[Deps]) -> None:
        if cmd.record_trouble:
            raise RuntimeError(cmd.record_trouble)
        await tx.connection.execute(
            "INSERT INTO charges VALUES (%s, %s, %s)", (charged.charge_id, cmd.order_id, cmd.amount)
        )

    @charge.undo
    async def refund(cmd: ChargeCard, charged: Charged | None, ctx: Handling[Deps]) -> Refunded:
        body = {"charge": charged.charge_id if charged else None, "key": ctx.key.removesuffix(":undo")}
        answer = await ctx.deps.gateway.post("/refunds", json=body, headers={"Idempotency-Key": ctx.key})
        return Refunded(refund_id=answer.raise_for_status().json()["id"])

    @refund.record
    async def book_back(cmd: ChargeCard, refunded: Refunded, tx: Transaction[Deps]) -> None:
        await tx.connection.execute(
            "UPDATE charges SET refund_id = %s WHERE order_id = %s", (refunded.refund_id, cmd.order_id)
        )

    return payments
