"""The story told from a journal alone agrees with the live saga, at every turn of real sagas."""

import asyncio

import pytest

from orchestrator import Command, Failure, Message, Saga, saga
from orchestrator.story import read_story, waiting_for
from orchestrator.testing import Simulation
from orchestrator.testing.simulated_saga import SimulatedSaga


class StoryReserve(Command[str], service="stock"):
    order: str


class StoryCharge(Command[str], service="payments"):
    order: str


class StoryPaid(Message):
    reference: str


class StoryDeclined(Failure):
    reason: str


@saga
async def story_order(s: Saga, order: str) -> str:
    await s.call(StoryReserve(order=order))
    await asyncio.sleep(5)
    paid = await s.receive(StoryPaid, timeout=60)
    charged, _ = await asyncio.gather(s.call(StoryCharge(order=order)), s.receive(StoryPaid, channel="second"))
    return f"{paid.reference} {charged}"


def told(found: SimulatedSaga) -> set[str]:
    """What the journal says it waits for, without `call`, `receive` ... before the names."""
    lines = waiting_for(read_story(found.journal))
    return {line.partition(" ")[2].removeprefix("of call ").partition(",")[0] for line in lines}


def agree(found: SimulatedSaga, *names: str) -> None:
    assert told(found) == set(names)
    live = {name for name in found.waiting_for if not name.endswith("s")}  # core may tell of timers by their length
    assert live <= set(names) | {name.partition(" on ")[0] for name in names}


@pytest.fixture
def sim():
    world = Simulation()
    yield world
    world.close()


def test_an_order_that_goes_well(sim: Simulation) -> None:
    sim.fake(StoryReserve).answer("kept")
    sim.fake(StoryCharge).answer("charged")
    order = sim.start(story_order, "7")
    agree(order, "5s")
    sim.advance(5)
    agree(order, "StoryPaid")
    order.send(StoryPaid(reference="elsewhere"), channel="other")
    agree(order, "StoryPaid")
    order.send(StoryPaid(reference="early"), channel="second")
    agree(order, "StoryPaid")
    order.send(StoryPaid(reference="r"))
    assert order.result == "r charged"
    assert told(order) == set()
    story = read_story(order.journal)
    assert [(o.kind, o.name, o.state) for o in story.operations.values()] == [
        ("call", "StoryReserve", "succeeded"),
        ("sleep", "5s", "done"),
        ("receive", "StoryPaid", "done"),
        ("call", "StoryCharge", "succeeded"),
        ("receive", "StoryPaid", "done"),
    ]


def test_an_order_that_makes_amends(sim: Simulation) -> None:
    sim.fake(StoryReserve).answer("kept")
    sim.fake(StoryCharge).fail(StoryDeclined(reason="limit"))
    order = sim.start(story_order, "7")
    sim.advance(5)
    order.send(StoryPaid(reference="r"))
    with pytest.raises(StoryDeclined):
        order.result  # noqa: B018
    story = read_story(order.journal)
    reserve = next(o for o in story.operations.values() if o.name == "StoryReserve")
    assert reserve.undo is not None
    assert reserve.undo.state == "undone"
    assert next(o for o in story.operations.values() if o.name == "StoryCharge").state == "failed"
    assert waiting_for(story) == ()


def test_an_order_that_nobody_pays(sim: Simulation) -> None:
    sim.fake(StoryReserve).answer("kept")
    order = sim.start(story_order, "7")
    sim.advance(5)
    sim.advance(61)
    assert order.status == "failed"
    assert told(order) == set()
