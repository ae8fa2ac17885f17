"""Saga code that catches BaseException and goes on, and code that waits for what is no operation."""

import asyncio
import concurrent.futures
import gc

import pytest

from orchestrator import Message, Saga, saga
from orchestrator.core.blocked import Blocked
from tests.unit.core.shop import Driver, Print


class News(Message, name="NewsOfCatching"):
    pass


@saga
async def receives(s: Saga, _: int) -> None:
    while True:
        try:
            await s.receive(News)
        except BaseException:
            continue


@saga
async def sleeps(s: Saga, _: int) -> None:
    while True:
        try:
            await asyncio.sleep(60)
        except BaseException:
            continue


@saga
async def begins_tasks(s: Saga, _: int) -> None:
    while True:
        try:
            await asyncio.create_task(s.receive(News))
        except BaseException:
            continue


@pytest.mark.parametrize("clinging", [receives, sleeps, begins_tasks], ids=lambda one: one.name)
def test_it_leaves_memory_all_the_same_and_is_named(clinging, caplog: pytest.LogCaptureFixture) -> None:
    driver = Driver(clinging, 0)
    caplog.clear()
    driver.live.evict()
    assert f"{clinging.name} caught the end of its own coroutine" in caplog.text
    del driver
    gc.collect()  # Python does not close it once more.


def test_a_few_refusals_are_what_finally_blocks_get(caplog: pytest.LogCaptureFixture) -> None:
    refused: list[str] = []

    @saga
    async def cleans_up(s: Saga, _: int) -> None:
        try:
            await s.receive(News)
        finally:
            for _n in range(3):
                try:
                    await s.call(Print(order="no"))
                except BaseException as error:
                    refused.append(type(error).__name__)

    driver = Driver(cleans_up, 0)
    refused.clear()
    driver.live.evict()
    assert refused == ["Evicted"] * 3
    assert caplog.text == ""


OF_A_THREAD: "concurrent.futures.Future[int]" = concurrent.futures.Future()
OF_ANOTHER_LOOP = asyncio.new_event_loop().create_future()


@saga
async def for_a_thread(s: Saga, _: int) -> None:
    await asyncio.wrap_future(OF_A_THREAD)


@saga
async def for_nobody(s: Saga, _: int) -> None:
    await asyncio.Event().wait()


@saga
async def for_another_loop(s: Saga, _: int) -> None:
    await OF_ANOTHER_LOOP


@pytest.mark.parametrize(
    ("waiting", "said"),
    [
        (for_a_thread, "nothing can ever wake it"),
        (for_nobody, "nothing can ever wake it"),
        (for_another_loop, "belongs to another event loop"),
    ],
    ids=["thread", "nobody", "loop"],
)
def test_what_can_never_come_is_not_waited_for(waiting, said: str) -> None:
    with pytest.raises(Blocked, match=rf"test_catching_everything\.py:\d+: .*{said}"):
        Driver(waiting, 0)


def test_what_comes_later_may_be_waited_for_in_any_way() -> None:
    @saga
    async def by_an_event(s: Saga, _: int) -> str:
        rung = asyncio.Event()

        async def ring() -> None:
            await s.call(Print(order="1"))
            rung.set()

        task = asyncio.create_task(ring())
        await rung.wait()
        await task
        return "rung"

    driver = Driver(by_an_event, 0)
    driver.feed(driver.reply(0, "1"))
    assert driver.end.result == "rung"
