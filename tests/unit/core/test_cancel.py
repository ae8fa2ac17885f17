"""Cancel, and how a saga ends with tasks that nobody waited for."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from orchestrator import Saga, saga
from orchestrator.core.decisions import SendUndo, Turn
from orchestrator.core.entries import Started, VerbGiven
from orchestrator.core.ids import SagaIdentity
from orchestrator.core.turn import LiveSaga
from tests.unit.core.shop import Charge, Driver, Print, Reserve, ops


@saga
async def tidy(s: Saga, _: int) -> str:
    await s.call(Reserve(sku="a"))
    try:
        return (await s.call(Charge(amount=1))).charge
    finally:
        await s.call(Print(order="cleaned up"))


def test_cancel_raises_at_the_await_then_finally_then_undos() -> None:
    driver = Driver(tidy, 0)
    driver.feed(driver.reply(0))
    assert ops(driver.feed(driver.verb("cancel"))) == ["call"]  # the finally block
    assert "ending already" in driver.ignored(driver.verb("cancel"))
    (_, undo) = driver.feed(driver.reply(2, "label"))
    assert isinstance(undo, SendUndo)
    assert (undo.seq, undo.known) == (1, "unknown")
    assert "compensating" in driver.ignored(driver.verb("cancel"))
    driver.feed(driver.undone(1))
    driver.feed(driver.undone(0))
    assert driver.end.status == "cancelled"
    assert driver.end.problem is not None
    assert driver.end.problem.type == "CancelledError"


def test_cancel_while_the_main_task_gathers() -> None:
    @saga
    async def gathers(s: Saga, _: int) -> None:
        await asyncio.gather(s.call(Reserve(sku="a")), s.call(Reserve(sku="b")))

    driver = Driver(gathers, 0)
    driver.feed(driver.reply(0))
    assert ops(driver.feed(driver.verb("cancel"))) == ["status compensating", "undo"]
    driver.feed(driver.undone(1))
    driver.feed(driver.undone(0))
    assert driver.end.status == "cancelled"


def test_code_may_refuse_to_be_cancelled() -> None:
    @saga
    async def stubborn(s: Saga, _: int) -> str:
        try:
            await s.call(Print(order="1"))
        except asyncio.CancelledError:
            return "finished all the same"
        return "?"

    driver = Driver(stubborn, 0)
    driver.feed(driver.verb("cancel"))
    assert (driver.end.status, driver.end.result) == ("completed", "finished all the same")


@pytest.mark.parametrize(("verb", "status"), [("cancel", "cancelled"), ("terminate", "terminated")])
def test_before_it_began(verb: str, status: str) -> None:
    live = LiveSaga(tidy, SagaIdentity("x", "u", "tidy", 1, 0))
    turn = live.feed(VerbGiven(at_us=1, verb=verb))  # type: ignore[arg-type]
    assert isinstance(turn, Turn)
    assert ops(turn.decisions) == [f"finish {status}"]
    assert not isinstance(live.feed(Started(at_us=2, input=0)), Turn)


def test_tasks_that_nobody_waited_for_are_cancelled_and_clean_up_durably() -> None:
    @saga
    async def forgets_a_task(s: Saga, _: int) -> str:
        async def background() -> None:
            try:
                await asyncio.sleep(1_000)
            finally:
                await s.call(Print(order="clean"))

        task = asyncio.create_task(background())
        await asyncio.sleep(1)
        return "done" if not task.done() else "?"

    driver = Driver(forgets_a_task, 0)
    assert ops(driver.feed(driver.timer())) == ["call"]
    driver.feed(driver.reply(driver.all[-1].to_json()["seq"], "label"))
    assert driver.end.result == "done"


def test_the_error_of_a_task_that_nobody_looked_at_fails_the_saga() -> None:
    @saga
    async def overlooks(s: Saga, _: int) -> str:
        async def breaks() -> None:
            raise LookupError("overlooked")

        task = asyncio.create_task(breaks())
        await s.call(Reserve(sku="a"))
        return str(task.done())

    driver = Driver(overlooks, 0)
    assert ops(driver.feed(driver.reply(0))) == ["status compensating", "undo"]
    driver.feed(driver.undone(0))
    assert driver.end.problem is not None
    assert (driver.end.problem.type, driver.end.problem.text) == ("LookupError", "overlooked")


def test_the_error_of_a_callback_fails_the_saga() -> None:
    @saga
    async def calls_back(s: Saga, _: int) -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(0)

    assert Driver(calls_back, 0).end.problem.type == "ZeroDivisionError"  # type: ignore[union-attr]


def test_an_error_alone_in_a_group_speaks_for_itself() -> None:
    @saga
    async def grouped(s: Saga, _: int) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(s.call(Charge(amount=1)))

    driver = Driver(grouped, 0)
    driver.feed(driver.failed(0))
    assert driver.end.problem is not None
    assert (driver.end.problem.kind, driver.end.problem.type) == ("failure", "ShopDeclined")


def test_a_generator_that_was_left_is_closed_at_the_end() -> None:
    @saga
    async def leaves_a_generator(s: Saga, _: int) -> str:
        async def pages() -> AsyncIterator[int]:
            try:
                yield 1
                yield 2
            finally:
                s.set("generator", "closed")

        async for page in pages():
            return f"page {page}"
        return "?"

    driver = Driver(leaves_a_generator, 0)
    assert ops(driver.started) == ["set", "finish completed"]


def test_sys_exit_in_saga_code_does_not_end_the_process() -> None:
    @saga
    async def exits(s: Saga, _: int) -> None:
        await s.call(Print(order="1"))
        raise SystemExit

    driver = Driver(exits, 0)
    assert "sys.exit()" in driver.blocked(driver.reply(0, "label"))
