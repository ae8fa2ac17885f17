"""Children: their ends, their ids, and how their parent takes them back (rule 11, hole A12)."""

import asyncio

import pytest

from orchestrator import Failure, Saga, SagaFailed, saga
from orchestrator.core.decisions import AnswerUndo, Decision, Finish, Settle, StartChild, Turn, UndoChild
from orchestrator.core.ids import SagaIdentity
from orchestrator.core.turn import LiveSaga
from orchestrator.problems import Problem
from orchestrator.testing import Simulation
from tests.unit.core.shop import NO, Charge, Charged, Declined, Driver, Reserve, ops


@saga
async def child(s: Saga, amount: int) -> str:
    await s.call(Reserve(sku="child"))
    return (await s.call(Charge(amount=amount))).charge


@saga
async def child_with_pivot(s: Saga, _: int) -> str:
    await s.call(Reserve(sku="child"))
    s.pivot()
    await s.call(Reserve(sku="after"))
    return "forward"


@saga
async def parent(s: Saga, amount: int) -> str:
    await s.call(Reserve(sku="parent"))
    result = await s.run(child, amount)
    if amount == 13:
        raise ValueError("unlucky")
    return result


def test_a_child_is_started_under_the_operations_key() -> None:
    driver = Driver(parent, 5)
    (started,) = driver.feed(driver.reply(0))
    assert started == StartChild(seq=1, type="child", version=1, id="uid-1:0:1", input=5)
    driver.feed(driver.reply(1, "c1"))
    assert driver.end.result == "c1"


def test_the_failure_of_a_child_comes_out_as_itself_and_is_definite() -> None:
    @saga
    async def catches(s: Saga, _: int) -> str:
        try:
            return await s.run(child, 1)
        except Declined as error:
            return f"declined: {error.reason} {error.effect}"

    driver = Driver(catches, 0)
    driver.feed(driver.failed(0, NO))
    assert driver.end.result == "declined: limit none"
    assert "undo_child" not in ops(driver.all)


def test_another_end_of_a_child_is_saga_failed() -> None:
    @saga
    async def catches(s: Saga, _: int) -> str:
        try:
            return await s.run(child, 1)
        except SagaFailed as error:
            return f"{error.saga_id} {error.status} {error.error_type}"

    driver = Driver(catches, 0)
    end = Problem(kind="saga", type="ValueError", text="x", saga_id="c", status="cancelled", left_undone=("Charge #3",))
    driver.feed(driver.failed(0, end))
    assert driver.end.result == "c cancelled ValueError"
    assert driver.end.left_undone == ("child #0: Charge #3",)


def test_a_parent_that_fails_takes_its_child_back_by_a_message() -> None:
    driver = Driver(parent, 13)
    driver.feed(driver.reply(0))
    _, undo = driver.feed(driver.reply(1, "c1"))
    assert undo == UndoChild(seq=1, attempt=1, id="uid-1:0:1", type="child")
    assert driver.live.pending_sends()[-1] == undo
    driver.feed(driver.undone(1))
    driver.feed(driver.undone(0))
    assert driver.end.left_undone == ()


def finished_child() -> Driver:
    driver = Driver(child, 5, parent_id="order-0")
    driver.feed(driver.reply(0))
    decisions = driver.feed(driver.reply(1, {"charge": "c"}))
    assert ops(decisions) == ["finish completed"]  # a child settles nothing at its end: it may be taken back
    return driver


def answers(decisions: tuple[Decision, ...] | list[Decision]) -> list[str]:
    return [d.outcome for d in decisions if isinstance(d, AnswerUndo)]


def test_a_completed_child_runs_its_stack_when_asked() -> None:
    driver = finished_child()
    assert ops(driver.feed(driver.undo_request())) == ["status compensating", "undo"]
    assert "under way" in driver.ignored(driver.undo_request(attempt=2))
    driver.feed(driver.undone(1))
    decisions = driver.feed(driver.undone(0))
    assert ops(decisions) == ["settle", "settle", "finish cancelled", "answer_undo"]
    assert answers(decisions) == ["undone"]
    again = driver.feed(driver.undo_request(attempt=2))
    assert answers(again) == ["undone"]


def test_a_running_child_is_cancelled_and_answers_when_it_is_through() -> None:
    driver = Driver(child, 5, parent_id="order-0")
    driver.feed(driver.reply(0))
    assert ops(driver.feed(driver.undo_request())) == ["status compensating", "undo"]
    driver.feed(driver.undone(1))
    assert answers(driver.feed(driver.undone(0))) == ["undone"]
    assert driver.end.status == "cancelled"


def test_a_child_that_failed_has_made_its_amends_already() -> None:
    driver = Driver(child, 5, parent_id="order-0")
    driver.feed(driver.reply(0))
    driver.feed(driver.failed(1))
    settled = driver.feed(driver.undone(0))
    assert [d for d in settled if isinstance(d, Settle)]
    assert answers(driver.feed(driver.undo_request())) == ["undone"]


@pytest.mark.parametrize("replies", [1, 2])
def test_a_child_past_its_pivot_refuses(replies: int) -> None:
    driver = Driver(child_with_pivot, 5, parent_id="order-0")
    driver.feed(driver.reply(0))
    if replies == 2:
        driver.feed(driver.reply(2))
        assert driver.end.status == "completed"
    decisions = driver.feed(driver.undo_request())
    assert answers(decisions) == ["failed"]
    if replies == 1:
        driver.feed(driver.reply(2))
        assert driver.end.status == "completed"


def test_a_terminated_child_refuses() -> None:
    driver = Driver(child, 5, parent_id="order-0")
    driver.feed(driver.reply(0))
    driver.feed(driver.verb("terminate"))
    assert answers(driver.feed(driver.undo_request())) == ["failed"]


def test_a_child_asked_before_it_began() -> None:
    live = LiveSaga(child, SagaIdentity("c", "u", "child", 1, 0, parent_id="p"))
    turn = live.feed(Driver(parent, 1).undo_request())
    assert isinstance(turn, Turn)
    assert ops(turn.decisions) == ["finish cancelled", "answer_undo"]


def test_a_child_that_would_not_be_cancelled_is_taken_back_when_it_is_completed() -> None:
    @saga
    async def stubborn(s: Saga, _: int) -> str:
        await s.call(Reserve(sku="a"))
        try:
            await s.call(Charge(amount=1))
        except asyncio.CancelledError:
            return "no"
        return "?"

    driver = Driver(stubborn, 0, parent_id="p")
    driver.feed(driver.reply(0))
    driver.feed(driver.undo_request())
    decisions = driver.feed(driver.undone(1))
    assert ops(decisions) == ["finish completed", "status compensating", "undo"]
    assert answers(driver.feed(driver.undone(0))) == ["undone"]
    assert isinstance(driver.all[-2], Finish)


def test_a_stuck_undo_in_the_child_is_seen_in_the_child_and_waited_for_in_the_parent() -> None:
    driver = finished_child()
    driver.feed(driver.undo_request())
    driver.feed(driver.undone(1, "failed", problem=NO))
    assert driver.live.status == "stuck"
    driver.feed(driver.verb("skip"))
    decisions = driver.feed(driver.undone(0))
    assert answers(decisions) == ["failed"]


def test_the_whole_family_in_simulation(sim: Simulation) -> None:
    sim.fake(Reserve).answer(None)
    charge = sim.fake(Charge)
    charge.answer(Charged(charge="c"))
    family = sim.start(parent, 13)
    with pytest.raises(SagaFailed, match="unlucky"):
        _ = family.result
    assert not charge.effects
    assert not sim.fake(Reserve).effects
    assert [u if isinstance(u, str) else u.__class__.__name__ for u in family.undone] == ["child", "Reserve"]


def test_failures_nest(sim: Simulation) -> None:
    sim.fake(Reserve).answer(None)
    sim.fake(Charge).fail(Declined(reason="limit"))
    with pytest.raises(Declined) as caught:
        _ = sim.start(parent, 1).result
    assert isinstance(caught.value, Failure)
    assert not sim.fake(Reserve).effects
