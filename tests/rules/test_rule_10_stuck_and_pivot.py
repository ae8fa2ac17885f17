"""Rule 10. Where the machine can neither go back nor forward it waits for a person, who may repeat, skip with a note
or give up. The pivot is passed with nothing half done behind it; after it nothing is taken back, and a cancel comes too
late, as it does while amends are being made.
"""

import asyncio

import pytest

from orchestrator import Retry, Saga, saga
from orchestrator.core.decisions import SendUndo, SetValue
from tests.unit.core.shop import NO, Charge, Driver, Print, Reserve


@saga
async def two_and_a_no(s: Saga, _: int) -> None:
    await s.call(Reserve(sku="a"))
    await s.call(Reserve(sku="b"))
    await s.call(Charge(amount=1))


@saga
async def forward(s: Saga, _: int) -> str:
    await s.call(Reserve(sku="a"))
    s.pivot()
    try:
        return await s.call(Print(order="1"), retry=Retry.never)
    except Exception as error:
        return f"went on without: {type(error).__name__}"


def undone(driver: Driver) -> list[int]:
    return [d.seq for d in driver.all if isinstance(d, SendUndo)]


def refused_undo() -> Driver:
    driver = Driver(two_and_a_no, 0)
    driver.feed(driver.reply(0))
    driver.feed(driver.reply(1))
    driver.feed(driver.failed(2, NO))
    driver.feed(driver.undone(1, "failed", problem=NO))
    assert driver.live.status == "stuck"
    return driver


def no_after_the_pivot() -> Driver:
    driver = Driver(forward, 0)
    driver.feed(driver.reply(0))
    driver.feed(driver.failed(2, NO))
    assert driver.live.status == "stuck"
    return driver


def test_a_refused_undo_waits_for_a_person_and_so_do_those_behind_it() -> None:
    driver = refused_undo()
    assert undone(driver) == [1]
    assert driver.live.next_timer is None
    driver.feed(driver.verb("retry"))
    driver.feed(driver.undone(1, attempt=2))
    driver.feed(driver.undone(0))
    assert (driver.end.status, driver.end.left_undone) == ("failed", ())


def test_skip_goes_on_with_the_others_and_says_what_stays_and_why() -> None:
    driver = refused_undo()
    driver.feed(driver.verb("skip", "returned by hand"))
    driver.feed(driver.undone(0))
    assert driver.end.left_undone == ("ShopReserve #1 (returned by hand)",)


def test_a_no_after_the_pivot_takes_nothing_back_and_is_not_hidden() -> None:
    driver = no_after_the_pivot()
    assert undone(driver) == []
    driver.feed(driver.verb("fail"))
    assert (driver.end.status, driver.end.left_undone, undone(driver)) == ("failed", ("ShopReserve #0",), [])


@pytest.mark.parametrize("verb", ["retry", "skip"])
def test_after_the_pivot_a_person_sends_it_forward(verb: str) -> None:
    driver = no_after_the_pivot()
    driver.feed(driver.verb(verb, "without a label"))
    if verb == "retry":
        driver.feed(driver.reply(3, "label"))
    assert driver.end.status == "completed"
    assert driver.end.result == ("label" if verb == "retry" else "went on without: Declined")


def test_an_error_after_the_pivot_is_stuck_and_not_compensated() -> None:
    @saga
    async def raises(s: Saga, _: int) -> None:
        await s.call(Reserve(sku="a"))
        s.pivot()
        raise ValueError("a bug")

    driver = Driver(raises, 0)
    driver.feed(driver.reply(0))
    assert (driver.live.status, undone(driver)) == ("stuck", [])


def test_no_pivot_while_something_that_can_be_taken_back_is_open() -> None:
    @saga
    async def too_early(s: Saga, _: int) -> None:
        reserving = asyncio.create_task(s.call(Reserve(sku="a")))
        await s.call(Print(order="1"))
        s.pivot()
        await reserving

    driver = Driver(too_early, 0)
    seqs = {d.to_json()["name"]: d.seq for d in driver.started}
    assert "ShopReserve" in driver.blocked(driver.reply(seqs["ShopPrint"], "label"))


def test_a_cancel_waits_until_a_scope_is_taken_back() -> None:
    @saga
    async def takes_back(s: Saga, _: int) -> str:
        try:
            async with s.scope():
                await s.call(Reserve(sku="a"))
                await s.call(Reserve(sku="b"))
                raise LookupError
        except asyncio.CancelledError:
            s.set("cancelled", True)
            raise
        return "went on"

    driver = Driver(takes_back, 0)
    driver.feed(driver.reply(0))
    driver.feed(driver.reply(1))
    driver.feed(driver.verb("cancel"))
    assert undone(driver) == [1]
    driver.feed(driver.undone(1))
    assert undone(driver) == [1, 0]
    assert not [d for d in driver.all if isinstance(d, SetValue)]
    driver.feed(driver.undone(0))
    assert [d.key for d in driver.all if isinstance(d, SetValue)] == ["cancelled"]
    assert (driver.end.status, driver.end.left_undone) == ("cancelled", ())


def test_cancel_is_too_late_after_the_pivot_and_while_amends_are_made() -> None:
    driver = Driver(forward, 0)
    driver.feed(driver.reply(0))
    driver.ignored(driver.verb("cancel"))
    driver.feed(driver.reply(2, "label"))
    assert driver.end.result == "label"
    driver = Driver(two_and_a_no, 0)
    driver.feed(driver.reply(0))
    driver.feed(driver.failed(1, NO))
    driver.ignored(driver.verb("cancel"))
    driver.feed(driver.undone(0))
    assert driver.end.status == "failed"
