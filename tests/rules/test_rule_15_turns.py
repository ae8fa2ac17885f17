"""Rule 15. One thing comes in, and the saga runs until it only waits: that is a turn, so where turns begin and end is
known without writing it down. Its clock is that of what came in and never goes back.
"""

import asyncio
import json
from datetime import UTC, datetime

from orchestrator import Saga, saga
from orchestrator.core.entries import TimerFired
from tests.rules.inside import Inside
from tests.unit.core.shop import SECOND, Driver, Paid, Print


@saga
async def first_wins(s: Saga, _: int) -> int:
    tasks = {asyncio.create_task(s.call(Print(order=str(n)))) for n in (1, 2)}
    done, _pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    s.set("winners", len(done))
    await asyncio.wait(tasks)
    return len(done)


@saga
async def clocks(s: Saga, _: int) -> list[str]:
    seen = [s.now()]
    for _ in range(3):
        await s.receive(Paid)
        seen.append(s.now())
    assert seen == sorted(seen), "time went backwards"
    return [time.isoformat() for time in seen]


def test_two_answers_of_one_batch_are_two_turns_so_one_wins() -> None:
    inside = Inside(first_wins)
    inside.start(first_wins, 0, "s")
    writes = inside.come(*(inside.succeeded("s", seq, Print, "label") for seq in (1, 0)))
    assert len(writes.turns) == 2
    for row in writes.turns:
        entry, *decisions = json.loads(row.body)
        assert entry["in"] == "replied"
        assert not [d for d in decisions if "in" in d]
    assert [value.value for value in writes.values] == ["1"]


def test_a_turn_ends_when_nothing_is_ready_and_not_before() -> None:
    @saga
    async def busy(s: Saga, _: int) -> int:
        async def relay_race(n: int) -> int:
            await asyncio.sleep(0)
            return n if n == 0 else await asyncio.create_task(relay_race(n - 1))

        await s.receive(Paid)
        return len([await relay_race(30) for _ in range(10)])

    driver = Driver(busy, 0)
    driver.feed(driver.message(Paid(reference="1"), id="m1"))
    assert driver.end.result == 10


def test_the_clock_is_the_entrys_and_never_runs_backwards() -> None:
    driver = Driver(clocks, 0)
    begin_us = driver.now_us
    for n, at_s in enumerate((10, 4, 20)):  # the second was stamped by a clock that is behind
        driver.now_us = begin_us + at_s * SECOND
        driver.feed(driver.message(Paid(reference=str(n)), id=f"m{n}"))
    times = [datetime.fromtimestamp((begin_us / SECOND) + s, UTC).isoformat() for s in (0, 10, 10, 20)]
    assert driver.end.result == times


def test_timers_due_together_go_by_the_order_in_which_they_were_set() -> None:
    @saga
    async def sleepers(s: Saga, _: int) -> list[int]:
        woken: list[int] = []

        async def sleeper(n: int) -> None:
            await asyncio.sleep(5)
            woken.append(n)

        await asyncio.gather(*(sleeper(n) for n in range(3)))
        return woken

    driver = Driver(sleepers, 0)
    first, *others = driver.live.timers()
    driver.now_us = first.due_us + SECOND
    for other in others:
        driver.ignored(TimerFired(at_us=driver.now_us, timer=other.number))
    for _ in range(3):
        driver.feed(driver.timer())
    assert driver.end.result == [0, 1, 2]
