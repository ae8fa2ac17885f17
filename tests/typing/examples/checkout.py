"""The checkout of a shop: reserve, charge, wait until the payment is settled; from there it only goes forward."""

import asyncio
from datetime import timedelta

from contracts import ChargeCard, Courier, Label, Order, OrderPaid, PaymentSettled, PrintLabel, Receipt, ReserveStock
from contracts import SendCourier
from orchestrator import Retry, Saga, saga


def render_invoice(order: Order) -> str:
    return f"invoices/{order.order_id}.pdf"


@saga(name="dispatch")
async def dispatch(s: Saga, order_id: str) -> Courier:
    return await s.call(SendCourier(order_id=order_id))


@saga(name="checkout", version=1)
async def checkout(s: Saga, order: Order) -> Receipt:
    s.set("status", "reserving")
    await s.call(ReserveStock(order_id=order.order_id, items=order.items))
    await s.call(
        ChargeCard(order_id=order.order_id, card=order.card, amount=order.total),
        retry=Retry(max_attempts=5),
        timeout=timedelta(seconds=30),
    )
    s.set("status", "waiting for the payment")
    await s.receive(PaymentSettled, timeout=timedelta(minutes=1))
    s.pivot()

    async with asyncio.timeout(3600):
        label, invoice = await asyncio.gather(
            s.call(PrintLabel(order_id=order.order_id)),
            s.step(render_invoice, order),
        )
    s.set("status", "paid")
    s.publish(OrderPaid(order_id=order.order_id, customer=order.customer))
    await s.run(dispatch, order.order_id, id=f"dispatch-{order.order_id}")
    return receipt(order, label, invoice)


def receipt(order: Order, label: Label, invoice: str) -> Receipt:
    return Receipt(order_id=order.order_id, tracking=label.tracking, invoice=invoice)
