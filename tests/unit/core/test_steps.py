"""Steps and transactions: when another attempt is made, what their undo waits for (rules 21, 22; hole D3)."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from orchestrator import Message, OperationFailed, Retry, Saga, TimedOut, saga
from orchestrator.core.decisions import Finish, StartStep
from orchestrator.core.values import result_json
from orchestrator.errors import PayloadError
from orchestrator.problems import Problem, problem_of
from tests.unit.core.shop import BUSY, LATER, NO, SECOND, Driver, ops


class GatewayError(Exception):
    pass


class Unreachable(GatewayError):
    pass


class Basket(Message, name="StepBasket"):
    items: list[str]


async def make(basket: Basket, extra: dict[str, int]) -> str:
    return "made"


async def unmake(basket: Basket, extra: dict[str, int]) -> None: ...


def undeclared(x: int):  # type: ignore[no-untyped-def]
    return x


async def debit(connection: Any, amount: int) -> int:
    return amount


async def credit(connection: Any, amount: int) -> None: ...


CAREFUL = Retry(max_attempts=3, on=(GatewayError,))


@saga
async def one_step(s: Saga, _: int) -> str:
    return await s.step(make, Basket(items=["tea"]), {"a": 1}, undo=unmake, retry=CAREFUL)


def problem(error: Exception) -> Problem:
    return problem_of(error)


def test_a_step_starts_after_the_turn_and_ends_by_an_entry() -> None:
    driver = Driver(one_step, 0)
    (start,) = driver.started
    assert isinstance(start, StartStep)
    assert (start.seq, start.attempt, start.name, start.kind, start.function) == (0, 1, "make", "step", make)
    assert start.args == (Basket(items=["tea"]), {"a": 1})
    assert driver.live.pending_steps() == (start,)
    driver.feed(driver.step(0, "made"))
    assert driver.end == Finish(status="completed", result="made")
    assert driver.live.pending_steps() == ()


def test_a_step_gets_copies_of_its_arguments_each_time() -> None:
    driver = Driver(one_step, 0)
    (start,) = driver.started
    assert isinstance(start, StartStep)
    start.args[1]["a"] = 99
    (again,) = driver.live.pending_steps()
    assert again.args[1] == {"a": 1}


def test_only_what_retry_names_is_tried_again_and_bases_count() -> None:
    driver = Driver(one_step, 0)
    driver.feed(driver.raised(0, problem(Unreachable("down"))))
    assert driver.live.pending_steps() == ()
    (second,) = driver.feed(driver.timer())
    assert isinstance(second, StartStep)
    assert (second.seq, second.attempt) == (0, 2)
    driver.feed(driver.raised(0, problem(ValueError("a bug")), attempt=2))
    assert ops(driver.all)[-2:] == ["status compensating", "step"]


def test_a_transient_is_always_tried_again_and_a_failure_never() -> None:
    driver = Driver(one_step, 0)
    driver.feed(driver.raised(0, BUSY))
    driver.feed(driver.timer())
    driver.feed(driver.raised(0, LATER, attempt=2))
    driver.feed(driver.timer())
    driver.feed(driver.raised(0, NO, attempt=3))
    assert driver.end.status == "failed"
    assert ops(driver.all).count("step") == 3  # a definite no, and no doubt before: nothing to undo


def test_a_step_is_undone_with_its_own_arguments_under_its_key() -> None:
    @saga
    async def fails(s: Saga, _: int) -> None:
        await s.step(make, Basket(items=["tea"]), {"a": 1}, undo=unmake)
        raise ValueError("no")

    driver = Driver(fails, 0)
    _, undo = driver.feed(driver.step(0, "made"))
    assert isinstance(undo, StartStep)
    assert (undo.function, undo.args, undo.undo_of, undo.seq) == (unmake, (Basket(items=["tea"]), {"a": 1}), 0, 1)
    assert driver.live.pending_steps() == (undo,)
    driver.feed(driver.raised(1, problem(ValueError("once"))))
    assert driver.live.pending_steps() == ()
    (again,) = driver.feed(driver.timer())
    assert isinstance(again, StartStep)
    assert (again.seq, again.attempt, again.undo_of) == (1, 2, 0)
    driver.feed(driver.step(1, attempt=2))
    assert driver.end.left_undone == ()


def test_an_error_after_which_nobody_knows_is_undone() -> None:
    @saga
    async def caught(s: Saga, _: int) -> str:
        try:
            return await s.step(make, Basket(items=[]), {}, undo=unmake, retry=Retry.never)
        except OperationFailed as error:
            return f"{error.error_type} {error.effect}"

    driver = Driver(caught, 0)
    assert ops(driver.feed(driver.raised(0, problem(GatewayError("?"))))) == ["step"]
    driver.feed(driver.step(1))
    assert driver.end.result == "GatewayError unknown"


@saga
async def impatient(s: Saga, _: int) -> str:
    try:
        return await s.step(make, Basket(items=[]), {}, undo=unmake, timeout=5, retry=CAREFUL)
    except TimedOut:
        return "gave up"


def test_the_undo_of_a_step_that_timed_out_waits_for_its_end() -> None:
    driver = Driver(impatient, 0)
    assert driver.feed(driver.timer()) == ()
    assert driver.live.abandoned_steps() == ((0, 1),)
    assert driver.live.pending_steps() == ()  # nobody waits for it: it is not started again
    assert ops(driver.feed(driver.step(0, "made after all"))) == ["step"]
    driver.feed(driver.step(1))
    assert driver.end.result == "gave up"


def test_a_step_that_timed_out_and_then_says_no_needs_no_undo() -> None:
    driver = Driver(impatient, 0)
    driver.feed(driver.timer())
    driver.feed(driver.raised(0, NO))
    assert driver.end.result == "gave up"


def test_a_step_whose_outcome_is_lost_is_undone() -> None:
    driver = Driver(impatient, 0)
    driver.feed(driver.timer())
    assert ops(driver.feed(driver.raised(0, problem(ValueError("?"))))) == ["step"]


def test_no_second_attempt_before_the_first_has_ended() -> None:
    @saga
    async def limited(s: Saga, _: int) -> str:
        return await s.step(make, Basket(items=[]), {}, retry=Retry(attempt_timeout_s=1))

    driver = Driver(limited, 0)
    (start,) = driver.started
    assert isinstance(start, StartStep)
    assert start.timeout_s == 1  # the engine's: it alone can stop an attempt, and says when it has ended
    assert driver.live.next_timer is None
    driver.feed(driver.raised(0, Problem(kind="timeout", type="TimedOut")))
    assert ops(driver.feed(driver.timer())) == ["step"]


def test_a_no_of_an_attempt_that_may_have_run_before_is_undone() -> None:
    """A5 for steps: a process ran it and is gone, the next one runs it again and is told no."""
    driver = Driver(one_step, 0)
    (again,) = driver.live.pending_steps()
    assert again.maybe_ran
    driver.feed(driver.raised(0, replace(NO, effect="unknown")))
    assert ops(driver.all)[-2:] == ["status compensating", "step"]


def test_a_cancelled_step_without_undo_is_let_go() -> None:
    @saga
    async def lets_go(s: Saga, _: int) -> str:
        try:
            async with asyncio.timeout(1):
                await s.step(make, Basket(items=[]), {})
        except TimeoutError:
            return "late"
        return "in time"

    driver = Driver(lets_go, 0)
    driver.feed(driver.timer())
    assert driver.end.result == "late"
    assert driver.live.abandoned_steps() == ()
    assert driver.ignored(driver.step(0, "made"))


def test_a_transaction_that_raised_was_rolled_back() -> None:
    @saga
    async def books(s: Saga, _: int) -> int:
        return await s.transaction(debit, 5, undo=credit, database="ledger", retry=Retry(max_attempts=2))

    driver = Driver(books, 0)
    (start,) = driver.started
    assert isinstance(start, StartStep)
    assert (start.kind, start.database, start.args) == ("transaction", "ledger", (5,))
    driver.feed(driver.raised(0, problem(ValueError("serialization"))))
    driver.feed(driver.timer())
    driver.feed(driver.raised(0, problem(ValueError("serialization")), attempt=2))
    assert driver.end.status == "failed"
    assert ops(driver.all).count("transaction") == 2


def test_a_step_without_a_declared_result_is_refused() -> None:
    @saga
    async def unclear(s: Saga, _: int) -> None:
        await s.step(undeclared, 1)

    with pytest.raises(Exception, match=r"test_steps\.py:(.|\n)*the result of undeclared is kept in the journal"):
        Driver(unclear, 0)


def test_the_timeout_between_two_attempts_of_a_transient_leaves_no_doubt() -> None:
    driver = Driver(impatient, 0)
    driver.feed(driver.raised(0, Problem(kind="transient", type="Transient", effect="none", retry_after_s=60)))
    assert driver.live.next_timer is not None
    assert driver.live.next_timer.due_us - driver.now_us == 5 * SECOND
    driver.feed(driver.timer())
    assert driver.end.result == "gave up"


def test_results_are_checked_where_they_are_made() -> None:
    def gives(value: Any) -> list[int]:
        return [value]

    assert result_json(gives, [1]) == [1]
    assert result_json(undeclared, object()) is None  # an undo
    for wrong in (["one"], "text", [float("nan")]):
        try:
            result_json(gives, wrong)
        except PayloadError:
            continue
        raise AssertionError(wrong)
