"""The payment service: charges cards at another company's gateway, which may be slow, down, or silent after a charge.

Timeout, bulkhead, breaker and key are the kit's. What a charge means is ours: what is a no, what is "not now", and
where to ask when nobody knows.
"""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal

import httpx
from sqlalchemy import Numeric, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from orchestrator import Breaker, Handling, Message, Participant, Transaction, Transient
from services import tables
from services.contracts import CardDeclined, ChargeCard, Charged
from services.traced_http import TracedTransport

ANSWER_TIMEOUT_S = 3.0  # The gateway promises an answer within a second.
GATEWAY_DELAY_S = 3.0  # A request that we gave up may still be booked this much later.
CALLS_MAX = 24
PAYMENT_REQUIRED, SERVICE_UNAVAILABLE = 402, 503


class Base(DeclarativeBase):
    pass


class Charge(Base):
    __tablename__ = "charges"

    charge_id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str]
    order_id: Mapped[str] = mapped_column(index=True)
    amount: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    booked_at: Mapped[tables.Now]
    refund_id: Mapped[str | None]
    refunded_at: Mapped[tables.Later]


class Refunded(Message):
    refund_id: str


@dataclass(frozen=True, slots=True)
class Deps:
    gateway: httpx.AsyncClient


@asynccontextmanager
async def open_gateway() -> AsyncGenerator[Deps]:
    """The connection pool to the gateway, for the life of the process. GATEWAY_URL says where it is."""
    limits = httpx.Limits(max_connections=CALLS_MAX)
    url, transport = os.environ["GATEWAY_URL"], TracedTransport(limits=limits)
    async with httpx.AsyncClient(base_url=url, timeout=ANSWER_TIMEOUT_S, transport=transport) as client:
        yield Deps(client)


payments = Participant("payments", lifespan=open_gateway)


async def find(cmd: ChargeCard, ctx: Handling[Deps]) -> Charged | None:
    """Was it charged? The gateway knows by our key."""
    try:
        answer = await ctx.deps.gateway.get("/charges", params={"key": ctx.key})
        found = answer.raise_for_status().json()
    except httpx.HTTPError as error:
        raise Transient(f"the gateway can't be asked about {ctx.key}: {error!r}") from error
    return Charged(charge_id=found[0]["id"]) if found else None


@payments.handles(
    ChargeCard,
    effect="external",
    lookup=find,
    timeout_s=ANSWER_TIMEOUT_S + 1,
    concurrency=CALLS_MAX,
    longest_delay_s=GATEWAY_DELAY_S,
    in_doubt="pin",  # The gateway answers one key with one answer, so an undo in doubt repeats the call, then refunds.
    breaker=Breaker("gateway", fail_max=5, reset_timeout_s=2.0),
)
async def charge(cmd: ChargeCard, ctx: Handling[Deps]) -> Charged:
    answer = await ctx.deps.gateway.post(
        "/charges",
        json={"order_id": cmd.order_id, "card": cmd.card, "amount": str(cmd.amount)},
        headers={"Idempotency-Key": ctx.key},
    )
    if answer.status_code == PAYMENT_REQUIRED:
        raise CardDeclined(reason=answer.json()["reason"])  # A definite no: there is nothing to undo.
    return Charged(charge_id=accepted(answer).json()["id"])


@charge.record
async def book(cmd: ChargeCard, charged: Charged, tx: Transaction[Deps]) -> None:
    tx.session.add(Charge(charge_id=charged.charge_id, key=tx.key, order_id=cmd.order_id, amount=cmd.amount))


@charge.undo
async def refund(cmd: ChargeCard, charged: Charged, ctx: Handling[Deps]) -> Refunded:
    answer = await ctx.deps.gateway.post(
        "/refunds",
        json={"order_id": cmd.order_id, "charge": charged.charge_id},
        headers={"Idempotency-Key": ctx.key},
    )
    return Refunded(refund_id=accepted(answer).json()["id"])


@refund.record
async def book_back(cmd: ChargeCard, refunded: Refunded, tx: Transaction[Deps]) -> None:
    await tx.session.execute(
        update(Charge)
        .where(Charge.order_id == cmd.order_id, Charge.refund_id.is_(None))
        .values(refund_id=refunded.refund_id, refunded_at=tables.now())
    )


def accepted(answer: httpx.Response) -> httpx.Response:
    """The answer, if it is a yes. Whatever else it raises, a lost connection or a timeout too, means: nobody knows."""
    if answer.status_code == SERVICE_UNAVAILABLE:
        raise Transient("the gateway turned us away before it booked anything")
    return answer.raise_for_status()


def create_tables(database_url: str) -> None:
    """The payment service's tables."""
    tables.create_tables(Base.metadata, database_url)
