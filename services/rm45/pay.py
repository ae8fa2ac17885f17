"""An order is paid by one charge. What is tried again, how often and how far apart, is said here and nowhere else."""

from datetime import timedelta

from orchestrator import App, Retry, Saga, saga
from services.rm45.contracts import Charged, ChargeDirectly, Order

RETRY = Retry(max_attempts=40, first_delay_s=0.5, max_delay_s=3)
PATIENCE = timedelta(seconds=60)


@saga(name="pay", version=1)
async def pay(s: Saga, order: Order) -> Charged:
    return await s.call(
        ChargeDirectly(order_id=order.order_id, card=order.card, amount=order.amount), retry=RETRY, timeout=PATIENCE
    )


app = App(sagas=[pay])
