"""Awaits that were forgotten, and awaits of what is no operation."""

from contracts import Order, OrderPaid, PaymentSettled, PrintLabel
from orchestrator import Client, Saga
from checkout import checkout, render_invoice


async def wrong(s: Saga, order: Order, client: Client) -> None:
    s.call(PrintLabel(order_id=order.order_id))  # error
    s.step(render_invoice, order)  # error
    s.receive(PaymentSettled)  # error
    client.send(order.order_id, PaymentSettled(reference="r"))  # error
    client.start(checkout, order, id="1")  # error
    label = s.call(PrintLabel(order_id=order.order_id))
    print(label.tracking)  # error
    await s.publish(OrderPaid(order_id=order.order_id, customer="Ada"))  # error
    await s.pivot()  # error
