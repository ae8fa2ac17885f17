"""An evicted saga is freed at once, by reference counts: for the rings of thousands the collector takes seconds."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from orchestrator import Message, Saga, saga
from orchestrator.core.saga_type import SagaType
from tests.unit.core.shop import Driver, Print, Reserve


class EvictedNews(Message):
    text: str


@saga
async def calling(s: Saga, _: int) -> str:
    await s.call(Reserve(sku="a"), timeout=timedelta(minutes=1))
    return await s.call(Print(order="1"))


@saga
async def listening(s: Saga, _: int) -> str:
    async with s.scope():
        return (await s.receive(EvictedNews, timeout=timedelta(days=1))).text


@saga
async def many_at_once(s: Saga, _: int) -> str:
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(s.call(Reserve(sku="a")))
        group.create_task(asyncio.sleep(5))
        first, _ = await asyncio.gather(s.call(Print(order="1")), asyncio.sleep(3))
    return first


@saga
async def waiting_for_an_event(s: Saga, _: int) -> str:
    bell = asyncio.Event()
    asyncio.get_running_loop().call_later(10, bell.set)
    await bell.wait()
    return "rung"


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize(
    "type_", [calling, listening, many_at_once, waiting_for_an_event], ids=lambda type_: type_.name
)
def test_nothing_of_it_is_left_for_the_collector(type_: SagaType[Any, Any]) -> None:
    driver = Driver(type_, 0)
    live = driver.live
    known = [weakref.ref(live._st.loop), *(weakref.ref(task) for task in live._st.loop.tasks)]
    assert len(known) > 1
    live.evict()
    del driver, live
    assert [ref() for ref in known if ref() is not None] == []
