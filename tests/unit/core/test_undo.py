"""The undo stack: order, scopes, keeping, stuck undos and a person's word (rules 4, 6, 10)."""

import asyncio

import pytest

from orchestrator import Saga, saga
from orchestrator.core.decisions import Decision, Finish, SendUndo, SetStatus, Settle
from tests.unit.core.shop import NO, Charge, Declined, Driver, Print, Reserve, ops


def undone(decisions: tuple[Decision, ...] | list[Decision]) -> list[int]:
    return [d.seq for d in decisions if isinstance(d, SendUndo)]


@saga
async def three_then_fail(s: Saga, _: int) -> None:
    await s.call(Reserve(sku="a"))
    await s.call(Print(order="1"))
    await s.call(Charge(amount=1))
    await s.call(Reserve(sku="b"))
    raise ValueError("no")


def run_three(driver: Driver) -> tuple[Decision, ...]:
    driver.feed(driver.reply(0))
    driver.feed(driver.reply(1, "label"))
    driver.feed(driver.reply(2, {"charge": "c"}))
    return driver.feed(driver.reply(3))


def test_undos_run_newest_first_each_after_the_one_before() -> None:
    driver = Driver(three_then_fail, 0)
    assert ops(run_three(driver)) == ["status compensating", "undo"]
    for seq in (3, 2, 0):
        assert undone(driver.all)[-1] == seq
        assert driver.live.status == "compensating"
        driver.feed(driver.undone(seq))
    assert undone(driver.all) == [3, 2, 0]
    assert [d for d in driver.all if isinstance(d, Settle)] == [
        Settle(service="stock", seqs=(0, 3)),
        Settle(service="shipping", seqs=(1,)),
        Settle(service="payments", seqs=(2,)),
    ]
    assert driver.end.status == "failed"


def test_a_scope_left_by_an_exception_is_taken_back_and_the_saga_goes_on() -> None:
    @saga
    async def nested(s: Saga, _: int) -> str:
        async with s.scope("order"):
            await s.call(Reserve(sku="a"))
            try:
                async with s.scope("delivery"):
                    await s.call(Reserve(sku="courier"))
                    await s.call(Charge(amount=1))
            except Declined:
                return "without delivery"
        return "all"

    driver = Driver(nested, 0)
    driver.feed(driver.reply(0))
    driver.feed(driver.reply(1))
    assert undone(driver.feed(driver.failed(2))) == [1]
    assert driver.live.status == "running"
    driver.feed(driver.undone(1))
    assert driver.end == Finish(status="completed", result="without delivery")
    assert undone(driver.all) == [1]


def test_what_an_inner_scope_did_is_taken_back_with_the_outer_one() -> None:
    @saga
    async def outer_fails(s: Saga, _: int) -> str:
        await s.call(Reserve(sku="first"))
        try:
            async with s.scope("outer"):
                async with s.scope("inner"):
                    await s.call(Reserve(sku="inner"))
                await s.call(Reserve(sku="outer"))
                raise LookupError
        except LookupError:
            return "went on"

    driver = Driver(outer_fails, 0)
    for seq in range(3):
        driver.feed(driver.reply(seq))
    driver.feed(driver.undone(2))
    driver.feed(driver.undone(1))
    assert undone(driver.all) == [2, 1]
    assert driver.end.result == "went on"


def test_undo_by_hand_and_go_on() -> None:
    @saga
    async def second_thoughts(s: Saga, _: int) -> str:
        async with s.scope("first try") as first:
            await s.call(Reserve(sku="cheap"))
        await first.undo()
        await s.call(Reserve(sku="fast"))
        raise ValueError("and then it fails")

    driver = Driver(second_thoughts, 0)
    assert undone(driver.feed(driver.reply(0))) == [0]
    assert ops(driver.feed(driver.undone(0))) == ["call"]
    assert undone(driver.feed(driver.reply(1))) == [1]  # and the first is not undone again
    driver.feed(driver.undone(1))
    assert undone(driver.all) == [0, 1]
    assert driver.end.status == "failed"


@saga
async def points(s: Saga, keep: bool) -> str:
    async with s.scope("points") as scope:
        try:
            async with asyncio.timeout(5):
                await s.call(Charge(amount=1))
        except TimeoutError:
            if keep:
                scope.keep()
            return "to follow"
    return "added"


@pytest.mark.parametrize("keep", [True, False])
def test_keep_says_that_what_turns_out_to_have_happened_stays(keep: bool) -> None:
    driver = Driver(points, keep)
    driver.feed(driver.timer())
    assert undone(driver.all) == ([] if keep else [1])
    if keep:
        assert driver.ignored(driver.reply(1, {"charge": "late"}))
    else:
        driver.feed(driver.undone(1))
    assert driver.end.result == "to follow"


def test_what_is_kept_stays_also_when_the_saga_fails() -> None:
    @saga
    async def keeps_and_fails(s: Saga, _: int) -> None:
        async with s.scope() as scope:
            await s.call(Reserve(sku="kept"))
            async with s.scope():
                await s.call(Reserve(sku="kept, too"))
            scope.keep()
        await s.call(Reserve(sku="not kept"))
        raise ValueError

    driver = Driver(keeps_and_fails, 0)
    for seq in range(3):
        driver.feed(driver.reply(seq))
    driver.feed(driver.undone(2))
    assert undone(driver.all) == [2]
    assert driver.end.left_undone == ()


def test_what_still_runs_in_a_scope_is_cancelled_before_it_is_taken_back() -> None:
    @saga
    async def with_a_sibling(s: Saga, _: int) -> str:
        async def slow() -> None:
            try:
                await s.call(Charge(amount=9))
            finally:
                s.set("slow", "cleaned up")

        outside = asyncio.create_task(asyncio.sleep(3600, "outside goes on"))
        try:
            async with s.scope():
                sibling = asyncio.create_task(slow())
                await s.call(Reserve(sku="a"))
        except Declined:
            return await outside
        return str(sibling)

    driver = Driver(with_a_sibling, 0)
    seqs = {d.to_json().get("name"): d.to_json()["seq"] for d in driver.started}
    decisions = driver.feed(driver.failed(seqs["ShopReserve"]))
    assert ops(decisions) == ["set", "undo"]
    driver.feed(driver.undone(seqs["ShopCharge"]))
    driver.feed(driver.timer())
    assert driver.end.result == "outside goes on"


def test_a_cancel_reaches_whoever_waits_for_an_undo_only_afterwards() -> None:
    @saga
    async def timed(s: Saga, _: int) -> str:
        try:
            async with asyncio.timeout(10), s.scope():
                await s.call(Reserve(sku="a"))
                raise LookupError
        except TimeoutError:
            s.set("handled", "the timeout")
            return "timed out during the undo"
        except LookupError:
            return "undone in time"
        return "?"

    driver = Driver(timed, 0)
    assert undone(driver.feed(driver.reply(1))) == [1]
    assert not driver.feed(driver.timer())  # the ten seconds are over; the undo goes on
    driver.feed(driver.undone(1))
    assert driver.end.result == "timed out during the undo"


def stuck_driver() -> Driver:
    driver = Driver(three_then_fail, 0)
    run_three(driver)
    driver.feed(driver.undone(3))
    decisions = driver.feed(driver.undone(2, "failed", problem=NO))
    assert [d.status for d in decisions if isinstance(d, SetStatus)] == ["stuck"]
    assert driver.live.status == "stuck"
    assert driver.live.next_timer is None
    return driver


def test_an_undo_that_is_refused_parks_the_saga_with_a_reason() -> None:
    driver = stuck_driver()
    (status,) = [d for d in driver.all if isinstance(d, SetStatus) and d.status == "stuck"]
    assert status.reason == "the undo of ShopCharge #2 failed: ShopDeclined: no"
    assert status.problem == NO
    assert "cancel" in driver.ignored(driver.verb("cancel"))


def test_retry_sends_the_undo_again() -> None:
    driver = stuck_driver()
    assert ops(driver.feed(driver.verb("retry"))) == ["status compensating", "undo"]
    driver.feed(driver.undone(2, attempt=2))
    driver.feed(driver.undone(0))
    assert driver.end.left_undone == ()


def test_skip_goes_on_and_lists_it_with_the_note() -> None:
    driver = stuck_driver()
    assert ops(driver.feed(driver.verb("skip", "refunded by hand"))) == ["status compensating", "undo"]
    driver.feed(driver.undone(0))
    assert driver.end.left_undone == ("ShopCharge #2 (refunded by hand)",)
    assert driver.end.problem is not None
    assert driver.end.problem.effect == "unknown"
    settled = {seq for d in driver.all if isinstance(d, Settle) for seq in d.seqs}
    assert settled == {0, 1, 3}  # its inbox row is still needed


def test_fail_ends_it_as_it_is() -> None:
    driver = stuck_driver()
    driver.feed(driver.verb("fail"))
    assert driver.end.status == "failed"
    assert driver.end.left_undone == ("ShopCharge #2", "ShopReserve #0")
    assert driver.ignored(driver.undone(0))


def test_a_late_undone_frees_a_saga_that_was_stuck() -> None:
    driver = stuck_driver()
    assert ops(driver.feed(driver.undone(2))) == ["status compensating", "undo"]
    assert driver.live.status == "compensating"


def test_verbs_for_a_saga_that_is_not_stuck_are_refused() -> None:
    driver = Driver(three_then_fail, 0)
    for verb in ("retry", "skip", "fail"):
        assert "this one is running" in driver.ignored(driver.verb(verb))


def test_terminate_stops_without_undos_and_lists_what_stays() -> None:
    driver = Driver(three_then_fail, 0)
    driver.feed(driver.reply(0))
    driver.feed(driver.reply(1, "label"))
    driver.feed(driver.verb("terminate"))
    assert driver.end.status == "terminated"
    assert driver.end.left_undone == ("ShopCharge #2", "ShopReserve #0")
    assert undone(driver.all) == []
    assert driver.live.next_timer is None
    assert driver.live.pending_sends() == ()
    assert driver.ignored(driver.reply(2, {"charge": "late"}))


def test_a_saga_that_completes_undoes_nothing() -> None:
    @saga
    async def fine(s: Saga, _: int) -> None:
        await s.call(Reserve(sku="a"))

    driver = Driver(fine, 0)
    driver.feed(driver.reply(0))
    assert driver.end == Finish(status="completed")
    assert undone(driver.all) == []


def test_two_scopes_that_fail_together_undo_each_their_own() -> None:
    @saga
    async def two(s: Saga, _: int) -> str:
        async def part(sku: str) -> str:
            try:
                async with s.scope(sku):
                    await s.call(Reserve(sku=sku))
                    await s.call(Charge(amount=1))
            except Declined:
                return f"{sku} back"
            return sku

        return " ".join(await asyncio.gather(part("a"), part("b")))

    driver = Driver(two, 0)
    driver.feed(driver.reply(0))
    driver.feed(driver.reply(1))
    assert undone(driver.feed(driver.failed(2))) == [0]
    assert undone(driver.feed(driver.failed(3))) == [1]
    driver.feed(driver.undone(1))
    driver.feed(driver.undone(0))
    assert driver.end.result == "a back b back"
