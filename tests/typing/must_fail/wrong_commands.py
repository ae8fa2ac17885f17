"""Calls that the command's contract does not allow."""

from contracts import ChargeCard, Order, OrderPaid, PrintLabel, ReserveStock
from orchestrator import Saga


async def wrong(s: Saga, order: Order) -> str:
    await s.call(ReserveStock(order_id=7, items=order.items))  # error
    await s.call(ReserveStock(order_id=order.order_id))  # error
    await s.call(ReserveStock(order_id=order.order_id, item=order.items))  # error
    await s.call(OrderPaid(order_id=order.order_id, customer=order.customer))  # error
    s.publish(PrintLabel(order_id=order.order_id))  # error
    charged = await s.call(ChargeCard(order_id="1", card="2", amount=order.total))
    print(charged.charge)  # error
    label: str = await s.call(PrintLabel(order_id=order.order_id))  # error
    await s.call(PrintLabel(order_id=order.order_id), retries=3)  # error
    await s.call(PrintLabel(order_id=order.order_id), timeout="30s")  # error
    return label
