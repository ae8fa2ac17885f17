"""What the bad input is thrown at: a till, the sagas that pay at it, and a neighbour who must not notice anything."""

import asyncio
import secrets
from pathlib import Path
from typing import Annotated

from pydantic import Field

from orchestrator import App, Command, Handling, Message, Participant, Saga, Transaction, saga

till = Participant("till")


class Slip(Message, name="TillSlip"):
    amount: int


class Pay(Command[Slip], service="till", name="TillPay"):
    """Its undo pays it back."""

    account: str
    amount: Annotated[int, Field(gt=0)]


class Go(Message, name="TillGo"):
    count: Annotated[int, Field(gt=0)] = 1


@till.handles(Pay)
async def pay(cmd: Pay, tx: Transaction) -> Slip:
    await tx.connection.execute("INSERT INTO paid VALUES (%s, %s, %s)", (tx.key, cmd.account, cmd.amount))
    return Slip(amount=cmd.amount)


@pay.undo
async def pay_back(cmd: Pay, slip: Slip, tx: Transaction) -> None:
    await tx.connection.execute("INSERT INTO paid VALUES (%s, %s, %s)", (tx.key, cmd.account, -slip.amount))


class CountWrongly(Command[Slip], service="till", name="TillCountWrongly"):
    account: str


@till.handles(CountWrongly)
async def count_wrongly(cmd: CountWrongly, tx: Transaction) -> Slip:
    """Its books are in order, and what it returns is no slip."""
    await tx.connection.execute("INSERT INTO paid VALUES (%s, %s, 1)", (tx.key, cmd.account))
    return {"amount": "a lot"}  # type: ignore[return-value]


@count_wrongly.undo
async def uncount(cmd: CountWrongly, slip: Slip, tx: Transaction) -> None:
    await tx.connection.execute("INSERT INTO paid VALUES (%s, %s, -1)", (tx.key, cmd.account))


class CallOut(Command[Slip], service="till", name="TillCallOut"):
    account: str


async def find(cmd: CallOut, ctx: Handling) -> Slip | None:
    return None


@till.handles(CallOut, effect="external", lookup=find, timeout_s=2, longest_delay_s=0.5)
async def call_out(cmd: CallOut, ctx: Handling) -> Slip:
    """The call was made, and what it returns is no slip."""
    return "done"  # type: ignore[return-value]


@call_out.undo
async def call_back(cmd: CallOut, slip: Slip | None, ctx: Handling) -> None:
    return None


@saga
async def neighbour(s: Saga, amount: int) -> int:
    """Through the shard, the outbox, the commands' partition and a timer."""
    slip = await s.call(Pay(account=s.id, amount=amount))
    await asyncio.sleep(0.01)
    return slip.amount


@saga
async def two_payments(s: Saga, account: str) -> int:
    first = await s.call(Pay(account=account, amount=1))
    go = await s.receive(Go)
    second = await s.call(Pay(account=account, amount=10 * go.count))
    return first.amount + second.amount


@saga
async def stubborn(s: Saga, account: str) -> None:
    """Whatever is raised in it, it goes on."""
    await s.call(Pay(account=account, amount=1))
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue


TABLES = "CREATE TABLE paid (key text NOT NULL, account text NOT NULL, amount int NOT NULL)"


class Unheard(Command[Slip], service="till", name="TillUnheard", undo=False):
    """Declared, and no participant of these tests handles it until one is deployed."""

    account: str


deployed_later = Participant("till")


@deployed_later.handles(Unheard)
async def hear(cmd: Unheard, tx: Transaction) -> Slip:
    await tx.connection.execute("INSERT INTO paid VALUES (%s, %s, 7)", (tx.key, cmd.account))
    return Slip(amount=7)


deployed_later.handles(Pay)(pay.function).undo(pay_back)


@saga
async def quiet(s: Saga, seconds: float) -> str:
    """Needs nobody but its shard: a turn and a timer."""
    await asyncio.sleep(seconds)
    return "awake"


async def write_much(done: str) -> str:
    """A result of 100 KB for as long as there is no such file."""
    await asyncio.sleep(0.05)
    return "" if Path(done).exists() else secrets.token_hex(50_000)


@saga
async def hungry(s: Saga, done: str) -> str:
    """Its journal grows until somebody says that it is enough."""
    while await s.step(write_much, done):
        pass
    return "enough"


app = App(sagas=[neighbour, two_payments, stubborn, quiet, hungry], participants=[till])
