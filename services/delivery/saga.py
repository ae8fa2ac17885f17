"""The delivery of a meal: it is ordered, paid for on the provider's page, cooked, and brought.

Between the order and the money a person has a minute to pay. For that time the saga is a row in Postgres and nothing
else. It goes on when the provider's webhook has told us, or when the minute is over; if both happen at once, the one
that came first counts, and the provider voids or refunds the payment whatever the other says.

Nothing here says how to take a step back, and nobody who listens to the order's events is named: see
`services/delivery/__init__.py` for who does.
"""

from datetime import timedelta

from orchestrator import OperationError, Retry, Saga, TimedOut, saga
from services.contracts import (
    BookCourier,
    Courier,
    Delivered,
    FoodOrder,
    Handover,
    MarkDelivered,
    MarkPaid,
    NotPaid,
    PaymentRefused,
    PaymentSettled,
    PlaceOrder,
    PrintLabel,
    RequestPayment,
    ReserveDishes,
)

PATIENCE_WITH_PROVIDER = timedelta(minutes=2)  # to make a payment; the customer's minute begins after that
BROUGHT_BY_US = "brought by us"  # the tracking of a meal for which a person has skipped the courier


@saga(name="dispatch", version=1)
async def dispatch(s: Saga, meal: Handover) -> Courier:
    label = await s.call(PrintLabel(order_id=meal.order_id, address=meal.address))
    return await s.call(BookCourier(order_id=meal.order_id, address=meal.address, label_id=label.label_id))


@saga(name="delivery", version=1)
async def delivery(s: Saga, order: FoodOrder) -> Delivered:
    await s.call(PlaceOrder(order_id=order.order_id, customer=order.customer, total=order.total))
    await s.call(ReserveDishes(order_id=order.order_id, dishes=order.dishes))
    payment = await s.call(
        RequestPayment(order_id=order.order_id, card=order.card, amount=order.total),
        retry=Retry(max_attempts=10, max_delay_s=5),
        timeout=PATIENCE_WITH_PROVIDER,
    )
    s.set("pay_at", payment.pay_at)
    await money(s, order)
    await s.call(MarkPaid(order_id=order.order_id))

    s.pivot()  # The kitchen cooks now: a meal can't be taken back, so from here on only forward.
    try:
        courier = await s.run(dispatch, Handover(order_id=order.order_id, address=order.address))
        tracking = courier.tracking
    except OperationError:
        # Behind the pivot a no does not come here by itself: the saga is stuck until a person decides. Who says `skip`
        # has found somebody else to bring the meal.
        tracking = BROUGHT_BY_US
    await s.call(MarkDelivered(order_id=order.order_id, tracking=tracking))
    return Delivered(order_id=order.order_id, payment_id=payment.payment_id, tracking=tracking)


async def money(s: Saga, order: FoodOrder) -> None:
    """Wait for what the provider tells us; also if it told us before. Raises NotPaid, and everything is undone."""
    try:
        told = await s.receive(PaymentSettled, PaymentRefused, timeout=order.pay_within_s)
    except TimedOut:
        raise NotPaid(order_id=order.order_id, reason=f"nobody paid within {order.pay_within_s:g} s") from None
    if isinstance(told, PaymentRefused):
        raise NotPaid(order_id=order.order_id, reason=told.reason)
