"""The deterministic loop: order, timers, eviction, what is refused, anyio (rules 15, 17; holes C1, C2, C3)."""

import asyncio
import ctypes
import gc
import math
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest

from orchestrator import Saga, TimedOut, saga
from orchestrator.core.blocked import Blocked, Evicted, TurnTooLong
from orchestrator.core.entries import Started, TimerFired
from orchestrator.core.ids import SagaIdentity
from orchestrator.core.loop import SagaLoop
from orchestrator.core.timers import microseconds
from orchestrator.core.turn import LiveSaga
from tests.unit.core.shop import SECOND, Charge, Driver, Paid, Print, Reserve, ops


@saga
async def group_that_fails(s: Saga, count: int) -> None:
    async def branch(number: int) -> None:
        try:
            await s.call(Print(order=f"do {number}"))
        finally:
            await s.call(Print(order=f"clean {number}"))

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(branch(number))
        group.create_task(s.call(Reserve(sku="bad")))


def test_sets_of_tasks_iterate_in_the_order_of_creation() -> None:
    orders = set()
    for noise in range(30):
        kept = [bytearray(n % 97) for n in range(noise * 7)]
        driver = Driver(group_that_fails, 6)
        driver.feed(driver.failed(6))
        orders.add(tuple(d.to_json()["body"]["order"] for d in driver.all[7:]))
        driver.live.evict()
        del kept
    assert orders == {tuple(f"clean {n}" for n in range(6))}


def test_tasks_of_two_sagas_have_two_hashes_and_those_of_a_replay_the_same() -> None:
    """anyio keeps one table of all tasks: with one hash for all first tasks, each is compared with each."""

    def hashes(uid: str) -> list[int]:
        loop = SagaLoop(uid)
        made = [hash(loop.create_future()) for _ in range(3)]
        loop.evict()
        return made

    assert hashes("one") == hashes("one")
    assert not set(hashes("one")) & set(hashes("another"))


def test_the_tasks_of_a_saga_are_not_in_asyncios_set_of_all() -> None:
    """Who asks it for the tasks of one loop walks over those of all."""
    driver = Driver(group_that_fails, 6)
    assert len(driver.live._st.loop.live_tasks()) == 8
    assert asyncio.all_tasks(driver.live._st.loop) == set()
    driver.live.evict()


def test_each_entry_is_a_turn_of_its_own() -> None:
    """C2: two replies in one run would give two winners."""

    @saga
    async def first_wins(s: Saga, _: int) -> int:
        tasks = [asyncio.create_task(s.call(Print(order=str(n)))) for n in range(2)]
        done, _pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return len(done)

    driver = Driver(first_wins, 0)
    driver.feed(driver.reply(1, "b"))
    assert driver.end.result == 1


def test_time_is_the_entrys_and_never_runs_backwards() -> None:
    @saga
    async def tells_time(s: Saga, _: int) -> list[str]:
        times = [s.now().isoformat()]
        for _n in range(2):
            await s.receive(Paid)
            times.append(s.now().isoformat())
        return times

    driver = Driver(tells_time, 0)
    driver.now_us += 5 * SECOND
    driver.feed(driver.message(Paid(reference="1"), id="1"))
    driver.now_us -= 3 * SECOND
    driver.feed(driver.message(Paid(reference="2"), id="2"))
    assert driver.end.result == [f"1970-01-01T00:16:{s}+00:00" for s in ("40", "45", "45")]


def test_timers_due_together_fire_in_the_order_in_which_they_were_set() -> None:
    @saga
    async def sleepers(s: Saga, _: int) -> list[str]:
        order: list[str] = []

        async def sleep(name: str, delay: float) -> None:
            await asyncio.sleep(delay)
            order.append(name)

        await asyncio.gather(sleep("b", 2), sleep("a", 1), sleep("c", 2))
        return order

    driver = Driver(sleepers, 0)
    timers = driver.live.timers()
    driver.now_us += 60 * SECOND
    late = TimerFired(at_us=driver.now_us, timer=timers[1].number)
    assert driver.ignored(late) == "an earlier timer comes first"
    for _ in range(3):
        driver.feed(driver.timer())
    assert driver.end.result == ["a", "b", "c"]


def test_a_timer_that_is_not_due_or_not_set_is_ignored() -> None:
    @saga
    async def sleeps(s: Saga, _: int) -> None:
        async with asyncio.timeout(60):
            await asyncio.sleep(10)
        await s.receive(Paid)

    driver = Driver(sleeps, 0)
    sleep, timeout = driver.live.timers()
    assert driver.ignored(TimerFired(at_us=driver.now_us, timer=sleep.number)) == "the timer is not due"
    driver.feed(driver.timer())
    assert driver.ignored(TimerFired(at_us=driver.now_us, timer=sleep.number)) == "the timer is not set"
    assert driver.ignored(TimerFired(at_us=timeout.due_us, timer=timeout.number)) == "the timer is not set"


def test_a_timer_that_measures_a_commands_patience_may_be_overtaken() -> None:
    """Rule 9: the engine holds it back while the command still lies in the outbox."""

    @saga
    async def patient(s: Saga, _: int) -> str:
        printed = asyncio.create_task(s.call(Print(order="1"), timeout=10))
        slept = await asyncio.sleep(20, "slept")
        await asyncio.wait([printed])
        return f"{type(printed.exception()).__name__} {slept}"

    driver = Driver(patient, 0)
    held, other = driver.live.timers()
    assert (held.seq, other.seq) == (1, None)
    driver.now_us = other.due_us
    driver.feed(TimerFired(at_us=driver.now_us, timer=other.number))
    driver.feed(TimerFired(at_us=driver.now_us, timer=held.number))
    assert driver.end.result == "TimedOut slept"


def test_durable_asyncio() -> None:
    @saga
    async def everything(s: Saga, _: int) -> str:
        queue: asyncio.Queue[int] = asyncio.Queue()
        event = asyncio.Event()
        lock = asyncio.Lock()

        async def producer() -> None:
            await asyncio.sleep(1)
            async with lock:
                await queue.put(7)
            event.set()

        async with asyncio.TaskGroup() as group:
            group.create_task(producer())
            got = await queue.get()
            await event.wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(100), 3)
        shielded = asyncio.ensure_future(asyncio.sleep(1, "s"))
        first = [await c for c in asyncio.as_completed([asyncio.create_task(asyncio.sleep(n, n)) for n in (2, 1)])]
        return f"{got} {first} {await asyncio.shield(shielded)}"

    driver = Driver(everything, 0)
    while driver.live.status == "running":
        driver.feed(driver.timer())
    assert driver.end.result == "7 [1, 2] s"


def test_as_completed_of_bare_coroutines_is_refused() -> None:
    @saga
    async def bare(s: Saga, _: int) -> None:
        for done in asyncio.as_completed([s.call(Print(order="1")), s.call(Print(order="2"))]):
            await done

    with pytest.raises(Blocked, match=r"test_loop.py:\d+: as_completed\(\) of bare coroutines"):
        Driver(bare, 0)


@pytest.mark.parametrize(
    ("name", "reach"),
    [
        ("run_in_executor", lambda: asyncio.to_thread(print)),
        ("create_connection", lambda: asyncio.open_connection("localhost", 1)),
        ("subprocess_exec", lambda: asyncio.create_subprocess_exec("true")),
        ("getaddrinfo", lambda: asyncio.get_running_loop().getaddrinfo("localhost", 1)),
    ],
)
def test_reaching_outside_is_refused_even_if_the_code_catches_it(name: str, reach: Callable[[], Any]) -> None:
    @saga
    async def reaches(s: Saga, _: int) -> None:
        try:
            await reach()
        except Exception:
            s.set("caught", True)

    with pytest.raises(Blocked, match=rf"test_loop.py:\d+: {name} reaches outside of the saga: use s.step"):
        Driver(reaches, 0)


def test_a_turn_that_never_becomes_quiet_is_blocked() -> None:
    @saga
    async def spins(s: Saga, _: int) -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Blocked, match="callbacks in one turn"):
        Driver(spins, 0)


def test_too_many_operations_in_a_turn_are_blocked() -> None:
    @saga
    async def floods(s: Saga, _: int) -> None:
        for number in range(2_000):
            s.set("n", number)

    with pytest.raises(Blocked, match=r"operations in one turn \(.*test_loop.py"):
        Driver(floods, 0)


def test_the_watchdogs_word_blocks_whatever_the_code_does() -> None:
    live: list[LiveSaga] = []

    @saga
    async def long(s: Saga, _: int) -> None:
        await s.receive(Paid)
        live[0].interrupt()
        await asyncio.sleep(0)

    driver = Driver(long, 0)
    live.append(driver.live)
    assert "TurnTooLong" in driver.blocked(driver.message(Paid(reference="1"), id="1"))


def test_a_turn_that_runs_too_long_is_interrupted_from_another_thread() -> None:
    live: list[LiveSaga] = []

    @saga
    async def busy(s: Saga, _: int) -> None:
        await s.receive(Paid)
        while len(live) == 1:
            try:
                sum(range(100))
            except BaseException:
                s.set("swallowed", True)
                live.append(live[0])

    driver = Driver(busy, 0)
    live.append(driver.live)
    turns = threading.get_ident()

    def watch() -> None:
        driver.live.interrupt()
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(turns), ctypes.py_object(TurnTooLong))

    watchdog = threading.Timer(0.05, watch)
    watchdog.start()
    assert "TurnTooLong" in driver.blocked(driver.message(Paid(reference="1"), id="1"))
    watchdog.join()


# ---- eviction


@saga
async def swallows_everything(s: Saga, _: int) -> None:
    async def pages() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await s.call(Charge(amount=2))

    async def child() -> None:
        try:
            await s.receive(Paid)
        except BaseException:
            s.set("refund", 1)

    tasks = [asyncio.create_task(child())]
    async for _page in pages():
        try:
            await s.call(Print(order="1"))
        except BaseException:
            tasks.append(asyncio.create_task(child()))
        finally:
            await s.call(Charge(amount=1))


def test_eviction_runs_no_operation_and_leaves_nothing_to_the_collector(capfd: pytest.CaptureFixture[str]) -> None:
    driver = Driver(swallows_everything, 0)
    before = len(driver.live._st.decisions)
    driver.live.evict()
    assert len(driver.live._st.decisions) == before
    assert driver.live._st.loop.live_tasks() == []
    del driver
    gc.collect()
    assert capfd.readouterr().err == ""


def test_every_operation_refuses_while_a_saga_is_evicted() -> None:
    refused: list[str] = []

    @saga
    async def tries(s: Saga, _: int) -> None:
        attempts: dict[str, Callable[[], object]] = {
            "call": lambda: s.call(Print(order="1")),
            "set": lambda: s.set("a", 1),
            "publish": lambda: s.start(tries, 1),
            "task": lambda: asyncio.create_task(asyncio.sleep(0)),
            "timer": lambda: asyncio.get_running_loop().call_later(1, print),
            "future": lambda: asyncio.get_running_loop().create_future(),
        }
        try:
            await s.receive(Paid)
        finally:
            for name, attempt in attempts.items():
                try:
                    attempt()
                except Evicted:
                    refused.append(name)

    live = LiveSaga(tries, SagaIdentity("x", "u", "tries", 1, 0))
    live.feed(Started(at_us=0, input=1))
    live.evict()
    assert refused == ["call", "set", "publish", "task", "timer", "future"]


# ---- anyio


def test_anyio_task_groups_and_cancel_scopes() -> None:
    @saga
    async def with_anyio(s: Saga, _: int) -> str:
        results: list[str] = []

        async def work(order: str) -> None:
            results.append(await s.call(Print(order=order)))

        async with anyio.create_task_group() as group:
            group.start_soon(work, "1")
            group.start_soon(work, "2")
        with anyio.move_on_after(5) as scope:
            await anyio.sleep(100)
        results.append(str(scope.cancelled_caught))
        with pytest.raises(TimeoutError):
            with anyio.fail_after(1):
                await s.call(Charge(amount=1))
        return " ".join(results)

    driver = Driver(with_anyio, 0)
    driver.feed(driver.reply(1, "b"))
    driver.feed(driver.reply(0, "a"))
    for _ in range(2):
        driver.feed(driver.timer())
    assert ops(driver.all)[-1] == "undo"
    driver.feed(driver.undone(driver.all[-1].to_json()["undo_of"]))
    assert driver.end.result == "b a True"


def test_an_anyio_scope_that_is_cancelled_during_an_undo_does_not_spin() -> None:
    @saga
    async def scoped(s: Saga, _: int) -> str:
        with anyio.move_on_after(10) as outer:
            async with s.scope():
                await s.call(Reserve(sku="a"))
                raise LookupError
        return f"cancelled {outer.cancelled_caught}"

    driver = Driver(scoped, 0)
    driver.feed(driver.reply(1))
    assert not driver.feed(driver.timer())
    driver.feed(driver.undone(1))
    assert driver.end.result == "cancelled True"


def test_an_anyio_group_that_fails_cancels_its_members() -> None:
    @saga
    async def group(s: Saga, _: int) -> str:
        async def slow() -> None:
            with anyio.CancelScope(shield=True):
                await s.call(Print(order="shielded"))
            await s.call(Print(order="never"))

        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(slow)
                await s.call(Charge(amount=1))
        except ExceptionGroup as errors:
            return type(errors.exceptions[0]).__name__
        return "?"

    driver = Driver(group, 0)
    seqs = {d.to_json()["name"]: d.to_json()["seq"] for d in driver.started}
    assert not driver.feed(driver.failed(seqs["ShopCharge"]))
    driver.feed(driver.reply(seqs["ShopPrint"], "label"))
    assert driver.end.result == "Declined"


def test_microseconds_are_never_before_the_float() -> None:
    for when in (0.0, 1e-9, 0.1, 0.3, 1 / 3, 12345.678901, 2**31 + 0.1):
        assert microseconds(when) / 1e6 >= when
        assert microseconds(when) / 1e6 - when < 2e-6
    assert microseconds(math.inf) > 0
    with pytest.raises(ValueError, match="NaN"):
        microseconds(math.nan)


def test_a_receive_times_out_as_an_asyncio_timeout_does() -> None:
    assert issubclass(TimedOut, TimeoutError)
