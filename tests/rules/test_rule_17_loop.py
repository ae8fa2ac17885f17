"""Rule 17. Nothing in a saga's loop depends on addresses, on the garbage collector or on threads: tasks have their
order in every set, coroutines that can't have one are refused, and what is thrown out of memory does nothing on its
way out.
"""

import asyncio
import gc
import sys
import threading

import pytest

from orchestrator import Saga, saga
from orchestrator.core.decisions import StartStep
from orchestrator.engine.steps import StepEnd, StepRunner
from tests.deadlines import eventually
from tests.unit.core.shop import Charge, Driver, Paid, Print


@saga
async def walks_a_set(s: Saga, _: int) -> list[str]:
    tasks = {asyncio.create_task(s.receive(Paid), name=f"t{n}") for n in range(200)}
    await asyncio.sleep(0)
    return [task.get_name() for task in tasks]


def test_a_set_of_tasks_is_walked_in_the_order_of_their_birth() -> None:
    driver = Driver(walks_a_set, 0)
    assert driver.end.result == [f"t{n}" for n in range(200)]


def test_bare_coroutines_in_as_completed_are_refused_with_what_to_write() -> None:
    @saga
    async def bare(s: Saga, _: int) -> None:
        await s.receive(Paid)
        for one in asyncio.as_completed([s.call(Print(order="1")), s.call(Print(order="2"))]):
            await one

    driver = Driver(bare, 0)
    assert "asyncio.create_task" in driver.blocked(driver.message(Paid(reference="1"), id="m"))


def test_thrown_out_of_memory_it_runs_no_operation_and_leaves_nothing_to_the_collector(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[str] = []
    unheard: list[object] = []  # what was raised where only the interpreter hears it
    monkeypatch.setattr(sys, "unraisablehook", unheard.append)

    @saga
    async def clings(s: Saga, _: int) -> None:
        async def sibling() -> None:
            try:
                await s.receive(Paid)
            except BaseException:
                tried.append("sibling")
                await s.call(Charge(amount=2))
                raise

        task = asyncio.create_task(sibling())
        try:
            await asyncio.gather(task, asyncio.sleep(3600))
        finally:
            tried.append("main")
            s.set("left", "by the back door")
            await s.call(Charge(amount=1))

    driver = Driver(clings, 0)
    tried.clear()  # the replays that the driver compares with were thrown out too
    before = tuple(driver.all)
    driver.live.evict()
    assert sorted(tried) == ["main", "sibling"]
    tried.clear()
    gc.collect()
    assert (tried, unheard) == ([], [])
    assert tuple(driver.all) == before
    assert driver.live._st.decisions == list(driver.started)  # nothing was even decided


def test_steps_run_beside_the_turns_async_ones_on_a_loop_of_their_own() -> None:
    seen: dict[str, tuple[str, bool]] = {}
    ended: list[StepEnd] = []

    def here(kind: str) -> int:
        try:
            looping = asyncio.get_running_loop().is_running()
        except RuntimeError:
            looping = False
        seen[kind] = threading.current_thread().name, looping
        return 1

    async def here_async(kind: str) -> int:
        return here(kind)

    runner = StepRunner({}, ended.append)
    for seq, (kind, function) in enumerate({"sync": here, "async": here_async}.items()):
        awaited = StepEnd(key=(f"k:0:{seq}", 1), saga_no=1, saga_id="s", shard=0, seq=seq, attempt=1)
        step = StartStep(seq=seq, attempt=1, name=kind, kind="step", function=function, args=(kind,))
        runner.start(awaited, f"k:0:{seq}", step)
    eventually(lambda: len(ended) == 2, 10, "two ends")
    runner.close()
    turns = threading.current_thread().name
    assert [end.problem for end in ended] == [None, None]
    assert seen["async"][1]
    assert not seen["sync"][1]
    assert len({turns, seen["sync"][0], seen["async"][0]}) == 3
