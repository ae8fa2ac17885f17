"""Rule 4. A command that may have left can be taken back, from that moment on. When the function raises, that happens
step by step from the latest to the first, through any number of crashes and refusals; a scope takes back its own part.
"""

import asyncio

from orchestrator import Saga, limits, saga
from orchestrator.core.decisions import SendUndo
from orchestrator.core.replay import replay
from tests.unit.core.shop import BUSY, NO, Charge, Declined, Driver, Reserve


@saga
async def shopping(s: Saga, _: int) -> None:
    await s.call(Reserve(sku="a"))
    await s.call(Reserve(sku="b"))
    await s.call(Charge(amount=1))


def undone(driver: Driver) -> list[int]:
    return [d.seq for d in driver.all if isinstance(d, SendUndo)]


def test_a_command_without_an_answer_is_taken_back_by_who_only_has_the_journal() -> None:
    driver = Driver(shopping, 0)
    driver.live = replay(shopping, driver.identity, driver.rows)  # the process that sent it is dead
    driver.feed(driver.verb("cancel"))
    assert undone(driver) == [0]


def test_the_latest_is_taken_back_first_and_the_next_only_when_it_is_through() -> None:
    driver = Driver(shopping, 0)
    driver.feed(driver.reply(0))
    driver.feed(driver.reply(1))
    driver.feed(driver.failed(2, NO))
    assert undone(driver) == [1]
    driver.feed(driver.undone(1))
    assert undone(driver) == [1, 0]
    assert driver.live.status == "compensating"
    driver.feed(driver.undone(0))
    assert driver.end.status == "failed"


def test_an_undo_that_does_not_succeed_is_tried_for_ever_with_longer_pauses_up_to_a_limit() -> None:
    driver = Driver(shopping, 0)
    driver.feed(driver.reply(0))
    driver.feed(driver.failed(1, NO))
    pauses_s = []
    for attempt in range(1, 30):
        driver.feed(driver.undone(0, "retry", attempt=attempt, problem=BUSY))
        before_us = driver.now_us
        driver.feed(driver.timer())
        pauses_s.append((driver.now_us - before_us) / 1e6)
    assert driver.live.status == "compensating"
    assert max(pauses_s) <= limits.UNDO_MAX_DELAY_S
    assert max(pauses_s[10:]) > 10 * max(pauses_s[:2])
    driver.feed(driver.undone(0, attempt=30))
    assert driver.end.left_undone == ()


def test_a_scope_takes_back_what_was_done_in_it_and_in_scopes_within_and_nothing_else() -> None:
    @saga
    async def with_scopes(s: Saga, _: int) -> str:
        await s.call(Reserve(sku="outside"))
        try:
            async with s.scope():
                async with s.scope():
                    await s.call(Reserve(sku="within"))
                await s.call(Reserve(sku="inside"))
                await s.call(Charge(amount=1))
        except Declined:
            pass
        return "went on"

    driver = Driver(with_scopes, 0)
    for seq in range(3):
        driver.feed(driver.reply(seq))
    driver.feed(driver.failed(3, NO))
    driver.feed(driver.undone(2))
    driver.feed(driver.undone(1))
    assert undone(driver) == [2, 1]
    assert driver.end.result == "went on"


def test_an_except_block_is_ordinary_code_that_may_call_and_sleep() -> None:
    @saga
    async def by_hand(s: Saga, _: int) -> str:
        try:
            await s.call(Charge(amount=1))
        except Declined as no:
            await asyncio.sleep(60)
            await s.call(Reserve(sku=f"another way, for {no.reason}"))
        return "paid otherwise"

    driver = Driver(by_hand, 0)
    driver.feed(driver.failed(0, NO))
    driver.feed(driver.timer())
    driver.feed(driver.reply(2))
    assert (driver.end.result, undone(driver)) == ("paid otherwise", [])
