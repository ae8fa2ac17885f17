"""What clients and sagas must not do with sagas."""

from access import Decision, access
from checkout import checkout, dispatch
from contracts import CardDeclined, Order, PaymentRefused, PaymentSettled
from orchestrator import Client, Saga, SyncClient, saga
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session


async def wrong(client: Client, sync: SyncClient, order: Order, db: Session, adb: AsyncSession) -> None:
    await client.start(checkout, "order-7", id="7")  # error
    await client.start(checkout, order)  # error
    await client.start(checkout, order, id="7", connection=db)  # error
    sync.start(checkout, order, id="7", connection=adb)  # error
    receipt = await client.result(checkout, "7")
    print(receipt.total)  # error
    await client.send("7", "paid")  # error
    courier: str = await client.run(dispatch, "7", id="d-7")  # error
    print(courier)


async def inside(s: Saga, order: Order) -> None:
    await checkout(s, order)  # error
    await s.run(dispatch, order)  # error
    answer = await s.receive(PaymentSettled, PaymentRefused)
    print(answer.reference)  # error
    s.start(access, Decision(verdict="approved"))  # error
    raise CardDeclined(text="no")  # error


@saga  # error
async def no_saga(order: Order) -> None: ...


@saga(name="x")  # error
def not_async(s: Saga, order: Order) -> None: ...
