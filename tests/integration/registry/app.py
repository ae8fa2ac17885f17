"""An app whose processes run with a schema registry."""

import asyncio

from orchestrator import App, Command, Event, Failure, Message, Participant, Saga, Transaction, saga

packers = Participant("packers")


class Box(Message):
    number: str
    weights: list[int]


class PackBox(Command[Box], service="packers"):
    number: str
    colour: str = "brown"


class SealBox(Command[None], service="packers", undo=False):
    number: str


class BoxPacked(Event, topic="boxes", key="number"):
    number: str


class TooHeavy(Failure):
    number: str


class ShipNow(Message):
    by: str
    carrier: str = "post"


@packers.handles(PackBox)
async def pack(cmd: PackBox, tx: Transaction) -> Box:
    return Box(number=cmd.number, weights=[1, 2])


@pack.undo
async def unpack(cmd: PackBox, box: Box, tx: Transaction) -> None:
    assert box.weights == [1, 2]


@packers.handles(SealBox)
async def seal(cmd: SealBox, tx: Transaction) -> None:
    if cmd.number.startswith("heavy"):
        raise TooHeavy(number=cmd.number)


@saga
async def ship(s: Saga, number: str) -> str:
    """A command with its undo, an event, a message, and a command that may say no."""
    box = await s.call(PackBox(number=number))
    s.publish(BoxPacked(number=number))
    ship_now = await s.receive(ShipNow)
    await s.call(SealBox(number=number))
    await asyncio.sleep(0)
    return f"{len(box.weights)} things by {ship_now.by}, {ship_now.carrier}"


app = App(sagas=[ship], participants=[packers])
