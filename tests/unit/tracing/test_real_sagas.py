"""What is inferred of real sagas is never wrong: no operation is said to be over that the saga still waits for."""

import asyncio
import json

import pytest

from orchestrator import Retry, Saga, TimedOut, saga
from orchestrator.core.entries import Entry
from orchestrator.core.saga_type import SagaType
from orchestrator.story import Story, advance
from orchestrator.tracing.spans import SagaFacts, Span, spans_of
from tests.unit.core.shop import BUSY, LOST, Charge, Driver, Paid, Print, Reserve


def sure() -> str:
    return "sure"


@saga(name="traced_patience", version=1)
async def patience(s: Saga, amount: int) -> str:
    try:
        await s.receive(Paid, timeout=5)
    except TimedOut:
        await s.call(Print(order="late"), retry=Retry(max_attempts=2))
    await asyncio.sleep(3)
    try:
        await s.call(Charge(amount=amount), timeout=9)
    except TimedOut:
        return await s.step(sure)
    return "paid"


@saga(name="traced_race", version=1)
async def race(s: Saga, amount: int) -> str:
    first = asyncio.create_task(s.call(Reserve(sku="a")))
    second = asyncio.create_task(s.call(Charge(amount=amount)))
    await asyncio.wait([first, second], timeout=60, return_when=asyncio.FIRST_COMPLETED)
    await s.call(Print(order="1"))
    await s.receive(Paid)
    return "raced"


class Told(Driver):
    """Tells the story beside the saga, turn by turn."""

    def __init__(self, saga_type: SagaType, input: int) -> None:
        self.story, self.told = Story(), 0
        super().__init__(saga_type, input)

    def feed(self, entry: Entry):
        before = dict(self.live._st.operations)
        decisions = super().feed(entry)
        advance(self.story, json.loads(json.dumps(self.rows[-1])))
        for seq, operation in (before | self.live._st.operations).items():
            told = self.story.operations[seq]
            waited_for = operation.state == "open" and not operation.future.done()
            assert not (waited_for and self.story.ended_us is None and not told.is_open), (told, self.rows)
        return decisions

    def spans(self) -> dict[str, Span]:
        facts = SagaFacts("order-1", "uid-1", self.saga.name, 1, None)
        return {span.name: span for span in spans_of(facts, self.rows)}


def test_nobody_paid_and_nobody_answered() -> None:
    driver = Told(patience, 5)
    driver.feed(driver.timer())  # the receive's patience
    driver.feed(driver.retry(1, LOST))
    driver.feed(driver.timer())
    driver.feed(driver.reply(1, "label", attempt=2))
    driver.feed(driver.timer())  # the sleep
    driver.feed(driver.timer())  # the call's patience
    driver.feed(driver.step(4, "sure"))
    driver.feed(driver.undone(3))
    spans = driver.spans()
    ends = {
        name: (span.attributes["amends.outcome"], span.attributes.get("error.type")) for name, span in spans.items()
    }
    assert ends == {
        "receive ShopPaid": ("failed", "TimedOut"),
        "call ShopPrint": ("succeeded", None),
        "sleep 3s": ("done", None),
        "call ShopCharge": ("unknown", "TimedOut"),
        "step sure": ("succeeded", None),
        "undo ShopCharge": ("undone", None),
        "saga traced_patience": ("completed", None),
    }
    assert spans["call ShopCharge"].ended_us - spans["call ShopCharge"].begun_us == 9_000_000
    assert spans["receive ShopPaid"].ended_us - spans["receive ShopPaid"].begun_us == 5_000_000


@pytest.mark.parametrize("loser_answers", [True, False])
def test_the_loser_of_a_race(loser_answers: bool) -> None:
    driver = Told(race, 5)
    seqs = {d.to_json().get("name"): d.to_json()["seq"] for d in driver.all}
    driver.feed(driver.retry(seqs["ShopReserve"], BUSY))
    driver.feed(driver.reply(seqs["ShopCharge"], {"charge": "c"}))
    printed = next(d.to_json()["seq"] for d in driver.all if d.to_json().get("name") == "ShopPrint")
    driver.feed(driver.reply(printed, "label"))
    if loser_answers:
        driver.feed(driver.timer())
        driver.feed(driver.reply(seqs["ShopReserve"], attempt=2))
    driver.feed(driver.message(Paid(reference="r"), id="m"))
    while driver.live.status != "completed":
        driver.feed(driver.undone(seqs["ShopReserve"]))
    spans = driver.spans()
    assert spans["call ShopReserve"].attributes["amends.outcome"] == ("succeeded" if loser_answers else "unknown")
    assert spans["saga traced_race"].attributes["amends.outcome"] == "completed"
    assert all(span.ended_us <= spans["saga traced_race"].ended_us for span in spans.values())
