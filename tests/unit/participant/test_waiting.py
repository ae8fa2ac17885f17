"""`Patience` ends what takes too long, and only that, as asyncio.timeout would."""

import asyncio

import pytest

from orchestrator.participant.waiting import Patience

SOON_S, NEVER_S = 0.05, 3_600.0


async def test_what_takes_too_long_is_ended_and_what_comes_after_it_is_not():
    patience = Patience()
    for _ in range(3):
        with pytest.raises(TimeoutError), patience(SOON_S):
            await asyncio.sleep(NEVER_S)
        with patience(NEVER_S):
            await asyncio.sleep(0)
    assert asyncio.current_task().cancelling() == 0


async def test_many_that_end_in_time_are_not_counted_together():
    patience = Patience()
    for _ in range(10):
        with patience(0.4):
            await asyncio.sleep(SOON_S)
    with pytest.raises(TimeoutError), patience(SOON_S):
        await asyncio.sleep(NEVER_S)


async def test_it_has_one_timer_that_is_seldom_set(monkeypatch):
    patience, loop, times = Patience(), asyncio.get_running_loop(), []
    monkeypatch.setattr(loop, "call_at", lambda when, call: times.append(when) or type(loop).call_at(loop, when, call))
    for _ in range(100):
        with patience(NEVER_S):
            pass
    assert len(times) == 1


async def test_an_end_from_outside_stays_one():
    patience, at_work = Patience(), asyncio.Event()

    async def work() -> None:
        with patience(NEVER_S):
            at_work.set()
            await asyncio.sleep(NEVER_S)

    task = asyncio.create_task(work())
    await at_work.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(TimeoutError), patience(SOON_S):  # of another task
        await asyncio.sleep(NEVER_S)


async def test_what_is_raised_inside_is_raised():
    patience = Patience()
    with pytest.raises(ValueError, match="mine"), patience(SOON_S):
        raise ValueError("mine")
    with pytest.raises(TimeoutError), patience(SOON_S):
        await asyncio.sleep(NEVER_S)
