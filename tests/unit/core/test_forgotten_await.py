"""A forgotten await is found, with file and line, before anything of that turn is stored."""

import asyncio
import warnings

import pytest

from orchestrator import Misuse, Saga, saga
from orchestrator.core.blocked import Blocked
from orchestrator.testing import Simulation
from tests.unit.core.shop import Driver, Paid, Print, Reserve


def test_a_forgotten_await_blocks_the_saga() -> None:
    @saga
    async def forgets(s: Saga, _: int) -> None:
        s.call(Reserve(sku="a"))  # type: ignore[unused-coroutine]
        await s.call(Print(order="1"))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        driver = Driver(forgets, 0)
        text = driver.blocked(driver.reply(0, "label"))
    assert text.startswith("Misuse: ")
    assert "test_forgotten_await.py:17: s.call(Reserve) was never awaited" in text


def test_the_first_test_finds_it(sim: Simulation) -> None:
    @saga
    async def forgets(s: Saga, _: int) -> None:
        s.receive(Paid)  # type: ignore[unused-coroutine]

    with pytest.raises(Misuse, match=r"test_forgotten_await.py:\d+: s.receive\(Paid\) was never awaited"):
        sim.start(forgets, 1)


def test_what_was_made_and_is_awaited_later_is_fine() -> None:
    @saga
    async def later(s: Saga, _: int) -> list[str]:
        calls = [s.call(Print(order=str(n))) for n in range(2)]
        return [await call for call in calls]

    driver = Driver(later, 0)
    driver.feed(driver.reply(0, "a"))
    driver.feed(driver.reply(1, "b"))
    assert driver.end.result == ["a", "b"]


def test_what_was_cancelled_before_it_began_is_fine() -> None:
    @saga
    async def cancels(s: Saga, _: int) -> str:
        task = asyncio.create_task(s.call(Print(order="1")))
        task.cancel()
        await asyncio.wait([task])
        return "fine"

    assert Driver(cancels, 0).end.result == "fine"


def test_what_is_left_when_the_function_raises_is_no_misuse() -> None:
    @saga
    async def raises(s: Saga, _: int) -> list[str]:
        calls = [s.call(Print(order=str(n))) for n in range(3)]
        return [await call for call in calls]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        driver = Driver(raises, 0)
        driver.feed(driver.failed(0))
    assert driver.end.status == "failed"


def test_misuse_blocks_even_when_it_is_caught() -> None:
    @saga
    async def catches(s: Saga, _: int) -> str:
        task = asyncio.create_task(s.call(Reserve(sku="a")))
        await asyncio.sleep(0)
        try:
            s.pivot()
        except Misuse:
            await task
        return "?"

    with pytest.raises(Blocked, match="can still be undone"):
        Driver(catches, 0)
