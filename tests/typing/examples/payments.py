"""A participant that calls a gateway. How it is called safely is the kit's business; what a charge is, ours."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from contracts import CardDeclined, ChargeCard, Charged
from orchestrator import Breaker, Handling, Message, Participant, Transaction


@dataclass(frozen=True)
class Deps:
    gateway: httpx.AsyncClient


@asynccontextmanager
async def open_gateway() -> AsyncGenerator[Deps]:
    async with httpx.AsyncClient(base_url="http://gateway.internal") as gateway:
        yield Deps(gateway)


class Refunded(Message):
    refund_id: str


payments = Participant("payments", lifespan=open_gateway)


async def find(cmd: ChargeCard, ctx: Handling[Deps]) -> Charged | None:
    answer = await ctx.deps.gateway.get("/charges", params={"key": ctx.key})
    found = answer.raise_for_status().json()
    return Charged(charge_id=found[0]["id"]) if found else None


@payments.handles(ChargeCard, effect="external", lookup=find, timeout_s=5, breaker=Breaker("gateway"))
async def charge(cmd: ChargeCard, ctx: Handling[Deps]) -> Charged:
    answer = await ctx.deps.gateway.post(
        "/charges",
        json={"card": cmd.card, "amount": str(cmd.amount)},
        headers={"Idempotency-Key": ctx.key},
    )
    if answer.status_code == 402:
        raise CardDeclined(reason=answer.text)  # surely not charged
    answer.raise_for_status()  # perhaps charged: the kit asks `find`
    return Charged(charge_id=answer.json()["id"])


@charge.record
async def book(cmd: ChargeCard, charged: Charged, tx: Transaction[Deps]) -> None:
    await tx.connection.execute(
        "INSERT INTO charges (charge_id, order_id, amount) VALUES (%s, %s, %s)",
        (charged.charge_id, cmd.order_id, cmd.amount),
    )


@charge.undo
async def refund(cmd: ChargeCard, charged: Charged, ctx: Handling[Deps]) -> Refunded:
    answer = await ctx.deps.gateway.post(
        "/refunds", json={"charge": charged.charge_id}, headers={"Idempotency-Key": ctx.key}
    )
    return Refunded(refund_id=answer.raise_for_status().json()["id"])


@refund.record
async def book_back(cmd: ChargeCard, refunded: Refunded, tx: Transaction[Deps]) -> None:
    await tx.connection.execute(
        "UPDATE charges SET refund_id = %s WHERE order_id = %s", (refunded.refund_id, cmd.order_id)
    )
