"""Calls: attempts, retries, doubt (rules 2, 5, 6; holes A4, A5, A6)."""

import asyncio
from datetime import timedelta

import pytest

from orchestrator import OperationFailed, Retry, Saga, TimedOut, saga
from orchestrator.core.decisions import Finish, SendCommand, SendUndo, Settle
from orchestrator.errors import OperationError
from tests.unit.core.shop import BUSY, LATER, LOST, NO, SECOND, Charge, Charged, Declined, Driver, Print, ops

THRICE = Retry(max_attempts=3, attempt_timeout_s=10)


@saga
async def pay(s: Saga, amount: int) -> str:
    return (await s.call(Charge(amount=amount), retry=THRICE, timeout=timedelta(minutes=5))).charge


@saga
async def pay_and_tell(s: Saga, amount: int) -> str:
    """The error as a text, so that its facts can be read; what may have happened is settled before the end."""
    try:
        return (await s.call(Charge(amount=amount), retry=THRICE, timeout=60)).charge
    except OperationError as error:
        return f"{type(error).__name__} {error.effect} {error.attempts}"


def test_the_command_leaves_with_its_undo_known() -> None:
    driver = Driver(pay, 5)
    assert driver.started == (
        SendCommand(seq=0, attempt=1, service="payments", type="ShopCharge", body={"amount": 5}, undo=True),
    )
    assert driver.live.pending_sends() == driver.started
    driver.feed(driver.reply(0, {"charge": "c1"}))
    assert driver.all[-2:] == [Settle(service="payments", seqs=(0,)), Finish(status="completed", result="c1")]
    assert driver.live.next_timer is None


def test_success_counts_for_any_attempt_and_retry_for_the_current_one_only() -> None:
    driver = Driver(pay, 5)
    assert not driver.feed(driver.retry(0))
    assert driver.ignored(driver.retry(0)) == "a `retry` of an earlier attempt"  # a copy, while it waits
    (second,) = driver.feed(driver.timer())
    assert isinstance(second, SendCommand)
    assert second.attempt == 2
    assert driver.ignored(driver.retry(0)) == "a `retry` of an earlier attempt"  # a copy, while attempt 2 is under way
    assert driver.ignored(driver.reply(0, {"charge": "c"}, attempt=3)) == "a reply to an attempt that was never made"
    driver.feed(driver.reply(0, {"charge": "c1"}, attempt=1))
    assert driver.end.result == "c1"
    assert driver.ignored(driver.reply(0, {"charge": "c1"}, attempt=2)) == "the saga has ended"


def test_the_backoff_has_full_jitter_out_of_the_sagas_identity() -> None:
    delays = []
    for _ in range(2):
        driver = Driver(pay, 5)
        driver.feed(driver.retry(0))
        timer = driver.live.next_timer
        assert timer is not None
        delays.append(timer.due_us - driver.now_us)
    assert delays[0] == delays[1]
    assert 0 <= delays[0] < SECOND


def test_retry_after_burns_no_attempt_and_waits_as_long_as_it_said() -> None:
    driver = Driver(pay, 5)
    for attempt in range(1, 9):  # more often than max_attempts
        driver.feed(driver.retry(0, LATER, attempt=attempt))
        timer = driver.live.next_timer
        assert timer is not None
        assert timer.due_us - driver.now_us == 7 * SECOND
        (sent,) = driver.feed(driver.timer())
        assert isinstance(sent, SendCommand)
        assert sent.attempt == attempt + 1


def test_used_up_without_effect_is_not_undone() -> None:
    driver = Driver(pay_and_tell, 5)
    for attempt in (1, 2, 3):
        driver.feed(driver.retry(0, BUSY, attempt=attempt))
        if attempt < 3:
            driver.feed(driver.timer())
    assert driver.end.result == "OperationFailed none 3"
    assert "undo" not in ops(driver.all)


def test_used_up_in_doubt_is_undone_before_the_end() -> None:
    driver = Driver(pay_and_tell, 5)
    for attempt, problem in ((1, BUSY), (2, LOST), (3, BUSY)):
        decisions = driver.feed(driver.retry(0, problem, attempt=attempt))
        if attempt < 3:
            driver.feed(driver.timer())
    assert ops(decisions) == ["undo"]
    (undo,) = decisions
    assert isinstance(undo, SendUndo)
    assert (undo.known, undo.reply, undo.reply_attempts) == ("unknown", None, 3)
    driver.feed(driver.undone(0))
    assert driver.end == Finish(status="completed", result="OperationFailed unknown 3")


def test_a_definite_no_is_not_undone() -> None:
    driver = Driver(pay, 5)
    driver.feed(driver.failed(0, NO))
    assert "undo" not in ops(driver.all)
    assert driver.end.status == "failed"
    assert driver.end.problem is not None
    assert (driver.end.problem.kind, driver.end.problem.type, driver.end.problem.effect) == (
        "failure",
        "ShopDeclined",
        "none",
    )


@pytest.mark.parametrize("how", ["lost", "silence", "the inbox says so"])
def test_a_no_after_doubt_is_undone(how: str) -> None:
    """A5: attempt 1 charged and its answer was lost; attempt 2 is declined."""
    driver = Driver(pay, 5)
    attempt, answer = 1, NO
    if how == "lost":
        driver.feed(driver.retry(0, LOST))
        driver.feed(driver.timer())
        attempt = 2
    elif how == "silence":
        driver.feed(driver.timer())  # the attempt's time is over
        driver.feed(driver.timer())  # the backoff is
        attempt = 2
    else:
        answer = type(NO)(kind="failure", type="ShopDeclined", fields={"reason": "limit"}, effect="unknown")
    driver.feed(driver.failed(0, answer, attempt=attempt))
    assert ops(driver.all)[-2:] == ["status compensating", "undo"]
    driver.feed(driver.undone(0))
    assert driver.end.status == "failed"
    assert driver.end.problem is not None
    assert driver.end.problem.type == "ShopDeclined"


def test_silence_uses_up_the_attempts_and_is_a_timeout() -> None:
    driver = Driver(pay_and_tell, 5)
    for _ in range(2):
        driver.feed(driver.timer())
        driver.feed(driver.timer())
    driver.feed(driver.timer())
    driver.feed(driver.undone(0))
    assert driver.end.result == "TimedOut unknown 3"


def test_the_overall_timeout_counts_over_all_attempts() -> None:
    driver = Driver(pay_and_tell, 5)
    attempt = 1
    while driver.live.status == "running":
        driver.feed(driver.retry(0, LATER, attempt=attempt))
        driver.feed(driver.timer())
        attempt += 1
    # Each attempt said that it had no effect, and the time ran out between two: nothing is in doubt.
    assert driver.end.result == f"TimedOut none {attempt - 1}"


def test_timers_of_a_call_name_it_so_that_the_engine_can_hold_them_back() -> None:
    driver = Driver(pay, 5)
    assert {timer.seq for timer in driver.live.timers()} == {0}
    driver.feed(driver.retry(0))
    assert [timer.seq for timer in driver.live.timers()] == [None, 0]  # the backoff measures nobody's patience


@saga
async def settle_for_none(s: Saga, amount: int) -> str:
    try:
        return (await s.call(Charge(amount=amount), timeout=10)).charge
    except TimedOut:
        await s.call(Print(order="without"))
        return "without"


def test_a_late_success_goes_to_the_undo_with_its_reply() -> None:
    driver = Driver(settle_for_none, 5)
    assert ops(driver.feed(driver.timer())) == ["call"]
    assert not driver.feed(driver.reply(0, {"charge": "late"}))  # it counts, and nobody waits for it
    assert "answered" in driver.ignored(driver.reply(0, {"charge": "late"}))
    (undo,) = driver.feed(driver.reply(1, "label"))
    assert isinstance(undo, SendUndo)
    assert (undo.known, undo.reply) == ("done", {"charge": "late"})
    driver.feed(driver.undone(0))
    assert driver.end == Finish(status="completed", result="without")


def test_a_late_definite_no_needs_no_undo() -> None:
    driver = Driver(settle_for_none, 5)
    driver.feed(driver.timer())
    assert not driver.feed(driver.failed(0))
    driver.feed(driver.reply(1, "label"))
    assert driver.end == Finish(status="completed", result="without")


def test_a_late_success_reaches_an_undo_that_is_under_way() -> None:
    driver = Driver(settle_for_none, 5)
    driver.feed(driver.timer())
    (undo,) = driver.feed(driver.reply(1, "label"))
    assert isinstance(undo, SendUndo)
    assert undo.known == "unknown"
    driver.feed(driver.reply(0, {"charge": "late"}))
    (again,) = driver.feed(driver.timer())
    assert isinstance(again, SendUndo)
    assert (again.attempt, again.known, again.reply) == (2, "done", {"charge": "late"})
    driver.feed(driver.undone(0, attempt=1))
    assert driver.end.status == "completed"


@saga
async def race(s: Saga, _: int) -> str:
    fast = asyncio.create_task(s.call(Charge(amount=1)))
    slow = asyncio.create_task(s.call(Charge(amount=2)))
    done, waiting = await asyncio.wait({fast, slow}, return_when=asyncio.FIRST_COMPLETED)
    for loser in waiting:
        loser.cancel()
    return (await done.pop()).charge


def test_the_loser_of_a_race_is_undone_before_the_end() -> None:
    driver = Driver(race, 0)
    (undo,) = driver.feed(driver.reply(1, {"charge": "second"}))
    assert isinstance(undo, SendUndo)
    assert undo.seq == 0
    assert driver.live.status == "running"
    driver.feed(driver.reply(0, {"charge": "first, late"}))
    driver.feed(driver.undone(0))
    assert driver.end == Finish(status="completed", result="second")


@saga
async def siblings(s: Saga, _: int) -> str:
    try:
        await asyncio.gather(s.call(Charge(amount=1)), s.call(Charge(amount=2)))
    except Declined:
        return "one was declined"
    return "both"


def test_the_sibling_of_a_caught_failure_is_undone_before_the_end() -> None:
    driver = Driver(siblings, 0)
    (undo,) = driver.feed(driver.failed(0))
    assert isinstance(undo, SendUndo)
    assert (undo.seq, undo.known) == (1, "unknown")
    driver.feed(driver.undone(1))
    assert driver.end.result == "one was declined"


def test_the_undo_is_repeated_until_it_is_answered_with_growing_gaps() -> None:
    driver = Driver(siblings, 0)
    driver.feed(driver.failed(0))
    gaps = []
    for _ in range(6):
        timer = driver.live.next_timer
        assert timer is not None
        gaps.append((timer.due_us - driver.now_us) // SECOND)
        driver.feed(driver.timer())
    assert gaps == [20, 40, 80, 160, 320, 320]
    (pending,) = driver.live.pending_sends()
    assert isinstance(pending, SendUndo)
    assert pending.attempt == 7
    driver.feed(driver.undone(1, attempt=3))
    assert driver.end.status == "completed"
    assert driver.ignored(driver.undone(1, attempt=7)) == "the saga has ended"


def test_an_undo_that_asks_to_be_tried_again_is() -> None:
    driver = Driver(siblings, 0)
    driver.feed(driver.failed(0))
    driver.feed(driver.undone(1, "retry", problem=BUSY))
    assert "late" in driver.ignored(driver.undone(1, "retry", problem=BUSY))
    assert driver.live.pending_sends() == ()
    (again,) = driver.feed(driver.timer())
    assert isinstance(again, SendUndo)
    assert again.attempt == 2


@saga
async def facts(s: Saga, _: int) -> str:
    try:
        await s.call(Charge(amount=1), retry=Retry.never)
    except OperationFailed as error:
        return f"{error.operation_key} {error.error_type} {error.error_text} {error.attempts}"
    return "?"


def test_what_an_error_knows() -> None:
    driver = Driver(facts, 0)
    driver.feed(driver.retry(0, LOST))
    driver.feed(driver.undone(0))
    assert driver.end.result == "uid-1:0:0 ReadTimeout no answer from the gateway 1"


def test_a_reply_that_is_none_blocks_the_saga() -> None:
    driver = Driver(pay, 5)
    assert "this is no Charged" in driver.blocked(driver.reply(0, {"something": "else"}))
    assert Charged.model_fields
