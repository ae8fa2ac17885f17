"""After the pivot only forward (rule 10, hole A11)."""

import asyncio

import pytest

from orchestrator import Retry, Saga, saga
from orchestrator.core.decisions import Finish, SendCommand, SetStatus, StartChild
from tests.unit.core.shop import LOST, Charge, Declined, Driver, Print, Reserve, ops


@saga
async def forward(s: Saga, _: int) -> str:
    await s.call(Reserve(sku="a"))
    s.pivot()
    try:
        return (await s.call(Charge(amount=1), retry=Retry.never)).charge
    except Declined:
        return await s.call(Print(order="instead"))


def past_the_pivot() -> Driver:
    driver = Driver(forward, 0)
    assert ops(driver.feed(driver.reply(0))) == ["pivot", "call"]
    return driver


def stuck() -> Driver:
    driver = past_the_pivot()
    assert ops(driver.feed(driver.failed(2))) == ["status stuck"]
    return driver


def test_a_definite_no_after_the_pivot_is_for_a_person() -> None:
    driver = stuck()
    (status,) = [d for d in driver.all if isinstance(d, SetStatus)]
    assert status.reason.startswith("ShopCharge #2 failed after the pivot: ShopDeclined")


def test_retry_after_a_definite_no_goes_under_a_new_key() -> None:
    """The inbox has stored the no under the old key; that had no effect, so a new key can double nothing."""
    driver = stuck()
    status, sent = driver.feed(driver.verb("retry"))
    assert isinstance(sent, SendCommand)
    assert (sent.seq, sent.attempt) == (3, 1)
    assert driver.ignored(driver.failed(2))
    driver.feed(driver.reply(3, {"charge": "c2"}))
    assert driver.end == Finish(status="completed", result="c2")
    assert isinstance(status, SetStatus)


def test_retry_when_nobody_knows_keeps_the_key() -> None:
    driver = past_the_pivot()
    driver.feed(driver.retry(2, LOST))
    assert driver.live.status == "stuck"
    _, sent = driver.feed(driver.verb("retry"))
    assert isinstance(sent, SendCommand)
    assert (sent.seq, sent.attempt) == (2, 2)
    driver.feed(driver.reply(2, {"charge": "c2"}, attempt=1))
    assert driver.end.result == "c2"


def test_a_late_success_frees_it() -> None:
    driver = past_the_pivot()
    driver.feed(driver.retry(2, LOST))
    assert ops(driver.feed(driver.reply(2, {"charge": "c"}))) == [
        "status running",
        "settle",
        "settle",
        "finish completed",
    ]


def test_skip_lets_the_code_go_on_without_it() -> None:
    driver = stuck()
    assert ops(driver.feed(driver.verb("skip", "paid in cash"))) == ["status running", "call"]
    driver.feed(driver.reply(3, "label"))
    assert driver.end.result == "label"


def test_fail_ends_it_and_lists_what_stays() -> None:
    driver = stuck()
    driver.feed(driver.verb("fail"))
    assert driver.end.status == "failed"
    assert driver.end.left_undone == ("ShopReserve #0",)
    assert driver.end.problem is not None
    assert driver.end.problem.type == "ShopDeclined"


def test_an_exception_out_of_the_function_leaves_only_fail() -> None:
    @saga
    async def breaks(s: Saga, _: int) -> None:
        await s.call(Reserve(sku="a"))
        s.pivot()
        raise ValueError("bug")

    driver = Driver(breaks, 0)
    assert ops(driver.feed(driver.reply(0))) == ["pivot", "status stuck"]
    for verb in ("retry", "skip"):
        assert "only `fail` is left" in driver.ignored(driver.verb(verb))
    driver.feed(driver.verb("fail"))
    assert driver.end.left_undone == ("ShopReserve #0",)


def test_the_pivot_is_refused_while_something_that_can_be_undone_is_open() -> None:
    @saga
    async def too_early(s: Saga, _: int) -> None:
        task = asyncio.create_task(s.call(Reserve(sku="a")))
        await s.call(Print(order="x"))
        s.pivot()
        await task

    driver = Driver(too_early, 0)
    seq = next(d.to_json()["seq"] for d in driver.started if d.to_json()["name"] == "ShopPrint")
    text = driver.blocked(driver.reply(seq, "label"))
    assert "test_pivot.py:" in text
    assert "s.pivot() while ShopReserve #" in text


def test_cancel_after_the_pivot_is_refused() -> None:
    driver = past_the_pivot()
    assert "past its pivot" in driver.ignored(driver.verb("cancel"))


def test_what_nobody_waits_for_is_settled_after_the_pivot_too() -> None:
    @saga
    async def leaves_one_open(s: Saga, _: int) -> str:
        s.pivot()
        try:
            async with asyncio.timeout(5):
                await s.call(Charge(amount=1))
        except TimeoutError:
            return "without"
        return "with"

    driver = Driver(leaves_one_open, 0)
    assert ops(driver.feed(driver.timer())) == ["undo"]
    driver.feed(driver.undone(2))
    assert driver.end.result == "without"


def test_a_scope_after_the_pivot_can_be_taken_back() -> None:
    @saga
    async def scoped(s: Saga, _: int) -> str:
        await s.call(Reserve(sku="before"))
        s.pivot()
        async with s.scope() as scope:
            await s.call(Reserve(sku="after"))
        await scope.undo()
        return "done"

    driver = Driver(scoped, 0)
    driver.feed(driver.reply(0))
    assert ops(driver.feed(driver.reply(2))) == ["undo"]
    driver.feed(driver.undone(2))
    assert driver.end.result == "done"


def test_a_scope_around_the_pivot_leaves_what_was_before_it() -> None:
    @saga
    async def around(s: Saga, _: int) -> str:
        try:
            async with s.scope():
                await s.call(Reserve(sku="before"))
                s.pivot()
                await s.call(Reserve(sku="after"))
                raise LookupError
        except LookupError:
            return "went on"

    driver = Driver(around, 0)
    driver.feed(driver.reply(0))
    assert ops(driver.feed(driver.reply(2))) == ["undo"]
    assert ops(driver.feed(driver.undone(2)))[-1] == "finish completed"


def test_a_child_that_failed_after_the_pivot_is_run_again_under_another_id() -> None:
    @saga
    async def child(s: Saga, _: int) -> str:
        return "x"

    @saga
    async def parent(s: Saga, _: int) -> str:
        s.pivot()
        return await s.run(child, 1, id="dispatch-7")

    driver = Driver(parent, 0)
    driver.feed(driver.failed(1))
    assert driver.live.status == "stuck"
    _, started = driver.feed(driver.verb("retry"))
    assert isinstance(started, StartChild)
    assert (started.seq, started.id) == (2, "dispatch-7-retry1")


def test_what_is_stuck_and_then_cancelled_by_the_code_is_no_longer_stuck() -> None:
    @saga
    async def impatient(s: Saga, _: int) -> str:
        s.pivot()
        try:
            async with asyncio.timeout(60):
                await s.call(Reserve(sku="a"))
        except TimeoutError:
            return "went on"
        return "?"

    driver = Driver(impatient, 0)
    driver.feed(driver.failed(2))
    assert driver.live.status == "stuck"
    assert ops(driver.feed(driver.timer()))[0] == "status running"
    assert driver.end.result == "went on"


@pytest.mark.parametrize("twice", [False, True])
def test_a_second_pivot_changes_nothing(twice: bool) -> None:
    @saga
    async def pivots(s: Saga, _: int) -> None:
        s.pivot()
        if twice:
            s.pivot()
        await s.call(Reserve(sku="a"))

    driver = Driver(pivots, 0)
    assert ops(driver.started) == ["pivot", "call"]
