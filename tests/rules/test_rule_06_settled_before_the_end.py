"""Rule 6. No saga ends, not even well, while what could be taken back is open or in the dark. Losers of races,
siblings that nobody waited for, calls given up: each is settled first, by its undo unless its scope says that it stays.
"""

import asyncio
from datetime import timedelta

import pytest

from orchestrator import Retry, Saga, TimedOut, saga
from orchestrator.core.decisions import Finish, SendUndo
from orchestrator.testing import Simulation
from tests.unit.core.shop import Charge, Charged, Declined, Driver, Reserve

DAY = timedelta(days=1)


@saga
async def race(s: Saga, _: int) -> str:
    fast, slow = (asyncio.create_task(s.call(Charge(amount=n))) for n in (1, 2))
    done, _pending = await asyncio.wait({fast, slow}, return_when=asyncio.FIRST_COMPLETED)
    return done.pop().result().charge


@saga
async def caught_timeout(s: Saga, _: int) -> str:
    try:
        return (await s.call(Charge(amount=1), retry=Retry.never, timeout=timedelta(seconds=5))).charge
    except TimedOut:
        return "on account"


@saga
async def gathered(s: Saga, _: int) -> str:
    async def sibling() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            s.set("sibling", "cleaned up")

    try:
        await asyncio.gather(s.call(Reserve(sku="gone")), s.call(Charge(amount=1)), sibling())
    except Declined:
        return "sold out"
    return "both"


@saga
async def keeps(s: Saga, keep: bool) -> str:
    async with s.scope() as points:
        try:
            async with asyncio.timeout(5):
                await s.call(Charge(amount=1))
        except TimeoutError:
            if keep:
                points.keep()
    return "with or without points"


def test_the_loser_of_a_race_is_taken_back(sim: Simulation) -> None:
    sim.fake(Charge).answer(lambda charge: Charged(charge=str(charge.amount)), after_s=1)
    ended = sim.start(race, 0)
    sim.advance(DAY)
    assert [str(charge.amount) for charge in sim.fake(Charge).effects] == [ended.result]


def test_what_was_given_up_and_had_happened_all_the_same_is_taken_back(sim: Simulation) -> None:
    sim.fake(Charge).silence(took_effect=True)
    ended = sim.start(caught_timeout, 0)
    sim.advance(DAY)
    assert (ended.result, list(sim.fake(Charge).effects)) == ("on account", [])


def test_the_siblings_of_a_caught_failure_are_stopped_and_taken_back(sim: Simulation) -> None:
    sim.fake(Reserve).fail(Declined(reason="sold out"))
    sim.fake(Charge).answer(Charged(charge="c"), after_s=30)
    ended = sim.start(gathered, 0)
    sim.advance(DAY)
    assert (ended.result, list(sim.fake(Charge).effects)) == ("sold out", [])
    assert ended.get("sibling", str) == "cleaned up"


@pytest.mark.parametrize("keep", [True, False])
def test_a_scope_that_says_keep_keeps_what_turns_out_to_have_happened(sim: Simulation, keep: bool) -> None:
    sim.fake(Charge).silence(took_effect=True)
    ended = sim.start(keeps, keep)
    sim.advance(DAY)
    assert ended.status == "completed"
    assert len(sim.fake(Charge).effects) == keep


def test_it_is_not_over_before_the_undo_is_and_a_late_yes_is_the_undos() -> None:
    driver = Driver(caught_timeout, 0)
    driver.feed(driver.timer())
    assert driver.live.status == "running"
    assert not any(isinstance(d, Finish) for d in driver.all)
    driver.feed(driver.reply(0, {"charge": "late"}))
    driver.feed(driver.timer())  # nobody has answered: the undo is repeated, and knows more now
    first, second = (d for d in driver.all if isinstance(d, SendUndo))
    assert (first.known, second.known, second.reply) == ("unknown", "done", {"charge": "late"})
    driver.feed(driver.undone(0, attempt=2))
    assert driver.end == Finish(status="completed", result="on account")
