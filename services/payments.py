"""The payment service: takes money through another company's gateway, which may be slow, down, or silent afterwards.

Timeout, bulkhead, breaker and key are the kit's. What a charge means is ours: what is a no, what is "not now", and
where to ask when nobody knows.

A checkout charges a card at once. A delivery only asks for a payment: the customer makes it on the gateway's page, and
the gateway tells us later (`services/delivery/webhook.py`, which shares this database and its tables).
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
from services.contracts import CardDeclined, ChargeCard, Charged, RefundRefused, Requested, RequestPayment
from services.traced_http import TracedTransport

ANSWER_TIMEOUT_S = 3.0  # The gateway promises an answer within a second.
GATEWAY_DELAY_S = 3.0  # A request that we gave up may still be booked this much later.
CALLS_MAX = 24
PAYMENT_REQUIRED, CONFLICT, SERVICE_UNAVAILABLE = 402, 409, 503
BREAKER = Breaker("gateway", fail_max=5, reset_timeout_s=2.0)  # one gateway, so one breaker for all that we ask of it


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


class PaymentRequest(Base):
    """A payment that we asked for. Without this row the webhook believes nobody that there is such a payment."""

    __tablename__ = "payment_requests"

    payment_id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str]
    order_id: Mapped[str] = mapped_column(index=True)
    saga_id: Mapped[str]
    amount: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    requested_at: Mapped[tables.Now]
    closed_at: Mapped[tables.Later]
    refund_id: Mapped[str | None]


class ProviderEvent(Base):
    """What the provider has told us, once an event: the row is written with the message that the saga gets of it."""

    __tablename__ = "provider_events"

    event_id: Mapped[str] = mapped_column(primary_key=True)
    payment_id: Mapped[str] = mapped_column(index=True)
    type: Mapped[str]
    received_at: Mapped[tables.Now]


class Refunded(Message):
    refund_id: str


class Closed(Message):
    """Nobody can pay it any more. `refund_id`: somebody had, and has it back."""

    refund_id: str | None


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
    breaker=BREAKER,
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


async def find_payment(cmd: RequestPayment, ctx: Handling[Deps]) -> Requested | None:
    """Is there such a payment? As with a charge, the gateway knows by our key."""
    try:
        answer = await ctx.deps.gateway.get("/payments", params={"key": ctx.key})
        found = answer.raise_for_status().json()
    except httpx.HTTPError as error:
        raise Transient(f"the gateway can't be asked about {ctx.key}: {error!r}") from error
    return requested(found[0]) if found else None


@payments.handles(
    RequestPayment,
    effect="external",
    lookup=find_payment,
    timeout_s=ANSWER_TIMEOUT_S + 1,
    concurrency=CALLS_MAX,
    longest_delay_s=GATEWAY_DELAY_S,
    in_doubt="pin",  # A payment that is asked for once more under its key, to be closed, moves no money.
    breaker=BREAKER,
)
async def request_payment(cmd: RequestPayment, ctx: Handling[Deps]) -> Requested:
    answer = await ctx.deps.gateway.post(
        "/payments",
        json={"order_id": cmd.order_id, "card": cmd.card, "amount": str(cmd.amount)},
        headers={"Idempotency-Key": ctx.key},
    )
    return requested(accepted(answer).json())


@request_payment.record
async def remember(cmd: RequestPayment, asked: Requested, tx: Transaction[Deps]) -> None:
    tx.session.add(
        PaymentRequest(
            payment_id=asked.payment_id, key=tx.key, order_id=cmd.order_id, saga_id=tx.saga_id, amount=cmd.amount
        )
    )


@request_payment.undo
async def close(cmd: RequestPayment, asked: Requested, ctx: Handling[Deps]) -> Closed:
    """The gateway voids what nobody has paid and refunds what somebody has, whichever of the two it is by then.

    It decides that, in one transaction: asked first and told after, the customer could pay in between.
    """
    answer = await ctx.deps.gateway.post(
        f"/payments/{asked.payment_id}/cancel", headers={"Idempotency-Key": ctx.key}, json={}
    )
    if answer.status_code == CONFLICT:
        raise RefundRefused(payment_id=asked.payment_id, reason=answer.json()["reason"])
    return Closed(refund_id=accepted(answer).json()["refund_id"])


@close.record
async def book_closed(cmd: RequestPayment, closed: Closed, tx: Transaction[Deps]) -> None:
    await tx.session.execute(
        update(PaymentRequest)
        .where(PaymentRequest.order_id == cmd.order_id, PaymentRequest.closed_at.is_(None))
        .values(closed_at=tables.now(), refund_id=closed.refund_id)
    )


def requested(payment: dict[str, str]) -> Requested:
    return Requested(payment_id=payment["id"], pay_at=payment["pay_at"])


def accepted(answer: httpx.Response) -> httpx.Response:
    """The answer, if it is a yes. Whatever else it raises, a lost connection or a timeout too, means: nobody knows."""
    if answer.status_code == SERVICE_UNAVAILABLE:
        raise Transient("the gateway turned us away before it booked anything")
    return answer.raise_for_status()


def create_tables(database_url: str) -> None:
    """The payment service's tables."""
    tables.create_tables(Base.metadata, database_url)
