"""A saga that makes amends, with its participant, relay and orchestrator, as one process: settings in the environment.

A process of its own, for OpenTelemetry's provider can be set only once in each.
"""

import asyncio
from contextlib import suppress

from orchestrator import App, Command, Failure, Participant, Saga, Transaction, saga
from orchestrator.run import everything
from orchestrator.settings import read_settings


class Reserve(Command[str], service="traced", undo=True):
    order: str


class Charge(Command[str], service="traced", undo=False):
    order: str


class NoMoney(Failure):
    order: str


traced = Participant("traced")


@traced.handles(Reserve, effect="local")
async def reserve(cmd: Reserve, tx: Transaction[None]) -> str:
    return "reserved"


@reserve.undo
async def release(cmd: Reserve, reply: str, tx: Transaction[None]) -> None:
    return None


@traced.handles(Charge, effect="local")
async def charge(cmd: Charge, tx: Transaction[None]) -> str:
    raise NoMoney(order=cmd.order)


@saga(name="traced_checkout", version=1)
async def checkout(s: Saga, order: str) -> str:
    await s.call(Reserve(order=order))
    return await s.call(Charge(order=order))


async def main() -> None:
    async with everything(App(sagas=[checkout], participants=[traced]), read_settings()) as client:
        with suppress(NoMoney):
            await client.run(checkout, "o-1", id="o-1")


if __name__ == "__main__":
    asyncio.run(main())
