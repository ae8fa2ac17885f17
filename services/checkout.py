"""The checkout: five calls to four services that share nothing, and either all of them happened or none did.

Nothing here says how to take a step back. Each participant knows that for its own commands; when this function raises,
what was done is undone, newest first. What may have been done counts as done: a charge whose answer never came is
looked up and refunded.
"""

import asyncio
from datetime import timedelta

from orchestrator import OperationError, Retry, Saga, saga
from services.contracts import (
    ChargeCard,
    CreateOrder,
    Dispatch,
    Order,
    OrderCancelled,
    OrderPaid,
    PackParcel,
    Receipt,
    ReserveStock,
)

PATIENCE_WITH_GATEWAY = timedelta(minutes=2)


@saga(name="checkout", version=1)
async def checkout(s: Saga, order: Order) -> Receipt:
    try:
        await s.call(CreateOrder(order_id=order.order_id, customer=order.customer, total=order.total))
        await s.call(ReserveStock(order_id=order.order_id, items=order.items))
        charged = await s.call(
            ChargeCard(order_id=order.order_id, card=order.card, amount=order.total),
            retry=Retry(max_attempts=10, max_delay_s=5),
            timeout=PATIENCE_WITH_GATEWAY,
        )
        await s.call(PackParcel(order_id=order.order_id, items=order.items))
        dispatched = await s.call(Dispatch(order_id=order.order_id, country=order.country))
    except (OperationError, asyncio.CancelledError):
        # A no, a timeout, an outcome that nobody knows, an operator's cancel: in each case the undos run after this.
        s.publish(OrderCancelled(order_id=order.order_id, customer=order.customer))
        raise

    s.pivot()  # The parcel is on its way: from here on only forward.
    s.publish(OrderPaid(order_id=order.order_id, customer=order.customer, total=order.total))
    return Receipt(order_id=order.order_id, charge_id=charged.charge_id, tracking=dispatched.tracking)
