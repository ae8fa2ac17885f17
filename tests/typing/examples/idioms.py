"""Small pieces of sagas for things that are easily got wrong."""

import asyncio
from datetime import timedelta

import httpx
from checkout import dispatch
from contracts import (
    AddPoints,
    CardDeclined,
    ChargeCard,
    Courier,
    NoCourier,
    Order,
    PaymentRefused,
    PaymentSettled,
    ReserveStock,
    SendCourier,
)
from orchestrator import Retry, Saga


async def race_with_the_loser_settled(s: Saga, order_id: str) -> Courier:
    """Two at once; the slower is cancelled, and a courier that it booked all the same is sent home in the end."""
    fast = asyncio.create_task(s.call(SendCourier(order_id=order_id, provider="fast")))
    cheap = asyncio.create_task(s.call(SendCourier(order_id=order_id, provider="cheap")))
    done, waiting = await asyncio.wait({fast, cheap}, return_when=asyncio.FIRST_COMPLETED)
    for loser in waiting:
        loser.cancel()
    return await done.pop()


async def gather_with_tolerated_failures(s: Saga, orders: list[Order]) -> int:
    """Failures are counted, what worked stays."""
    calls = [s.call(SendCourier(order_id=order.order_id)) for order in orders]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    return sum(isinstance(outcome, Courier) for outcome in outcomes)


async def timeout_around_a_call(s: Saga, order: Order) -> str:
    """Too late: go on without. keep() lets points stay that are added after all; they would be taken back otherwise."""
    async with s.scope("points") as points:
        try:
            async with asyncio.timeout(5):
                await s.call(AddPoints(customer=order.customer, points=10))
        except TimeoutError:
            points.keep()
            return "points to follow"
    return "points added"


async def nested_scopes(s: Saga, order: Order) -> bool:
    """What failed inside is taken back alone; the outer scope goes on."""
    async with s.scope("order"):
        await s.call(ReserveStock(order_id=order.order_id, items=order.items))
        try:
            async with s.scope("delivery"):
                await s.call(SendCourier(order_id=order.order_id))
                await s.call(ChargeCard(order_id=order.order_id, card=order.card, amount=order.total))
        except CardDeclined:
            return False  # no courier any more, but the stock is kept
    return True


async def partial_compensation_by_hand(s: Saga, order: Order) -> Courier:
    """Take one part back, and go on."""
    async with s.scope("first try") as first_try:
        courier = await s.call(SendCourier(order_id=order.order_id, provider="cheap"))
    if courier.minutes > 30:
        await first_try.undo()
        courier = await s.call(SendCourier(order_id=order.order_id, provider="fast"))
    return courier


async def fetch(url: str) -> str:
    async with httpx.AsyncClient() as http:
        return (await http.get(url)).raise_for_status().text


async def retry_by_exception(s: Saga) -> str:
    """Again only after errors that another attempt can mend."""
    patient = Retry(max_attempts=8, first_delay_s=0.5, on=(httpx.TransportError,), attempt_timeout_s=10)
    return await s.step(fetch, "https://rates.internal/today", retry=patient, timeout=timedelta(minutes=2))


async def two_topics_at_once(s: Saga) -> str:
    """Whichever of two messages came first."""
    match await s.receive(PaymentSettled, PaymentRefused, timeout=60):
        case PaymentSettled(reference=reference):
            return reference
        case PaymentRefused(reason=reason):
            raise CardDeclined(reason=reason)


async def child_with_id(s: Saga, order: Order) -> Courier | None:
    """A child under an id that people know. What it raised is raised here."""
    try:
        return await s.run(dispatch, order.order_id, id=f"dispatch-{order.order_id}")
    except NoCourier:
        return None
