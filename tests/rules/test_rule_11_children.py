"""Rule 11. A child that has ended can still be taken back while its root can: its parent asks it by a message, as it
would a participant, and gets an answer when all of the child is taken back, or a no if it can't be.
"""

from datetime import timedelta

import pytest

from orchestrator import Saga, SyncClient, saga
from orchestrator.core.decisions import AnswerUndo, Settle, UndoChild
from orchestrator.testing import Simulation
from tests.deadlines import deadline
from tests.integration.engine.kit import System
from tests.integration.engine.program import Post, TooMuch
from tests.unit.core.shop import NO, Charge, Charged, Driver, Reserve


@saga
async def child(s: Saga, _: int) -> str:
    await s.call(Reserve(sku="child"))
    return (await s.call(Charge(amount=5))).charge


@saga
async def child_past_its_pivot(s: Saga, _: int) -> str:
    await s.call(Reserve(sku="child"))
    s.pivot()
    return "sent"


@saga
async def family(s: Saga, _: int) -> None:
    await s.call(Reserve(sku="parent"))
    await s.run(child, 0)
    raise ValueError("and now the parent fails")


@saga
async def grandparent(s: Saga, _: int) -> None:
    try:
        await s.run(family, 0)
    except Exception:
        return
    raise AssertionError("the family fails")


@saga
async def books_twice(s: Saga, account: str) -> int:
    return await s.call(Post(account=account, amount=10)) + await s.call(Post(account=account, amount=20))


@saga
async def books_too_much(s: Saga, account: str) -> None:
    total = await s.run(books_twice, account, id=f"{account}-child")
    await s.call(Post(account=account, amount=total + 1000))


def ended_child(saga_type, *replies) -> Driver:
    driver = Driver(saga_type, 0, parent_id="order-0")
    for seq, reply in enumerate(replies):
        driver.feed(driver.reply(seq, reply))
    assert driver.end.status == "completed"
    return driver


def test_when_the_parent_fails_nothing_of_the_child_stays(sim: Simulation) -> None:
    sim.fake(Reserve).answer(None)
    sim.fake(Charge).answer(Charged(charge="c"))
    root = sim.start(grandparent, 0)
    sim.advance(timedelta(days=1))
    assert root.status == "completed"
    assert (list(sim.fake(Reserve).effects), list(sim.fake(Charge).effects)) == ([], [])
    assert {one.identity.type: one.status for one in sim.sagas.values()} == {
        "grandparent": "completed",
        "family": "failed",
        "child": "cancelled",
    }


def test_a_child_that_is_completed_lets_no_participant_forget_it() -> None:
    assert [d for d in ended_child(child, None, {"charge": "c"}).all if isinstance(d, Settle)] == []


def test_a_completed_child_makes_its_amends_and_answers_when_it_is_through() -> None:
    driver = ended_child(child, None, {"charge": "c"})
    driver.feed(driver.undo_request())
    driver.feed(driver.undone(1))
    assert not [d for d in driver.all if isinstance(d, AnswerUndo)]
    driver.feed(driver.undone(0))
    assert [d.outcome for d in driver.all if isinstance(d, AnswerUndo)] == ["undone"]


def test_a_child_past_its_pivot_says_no_and_its_parent_is_for_a_person() -> None:
    driver = ended_child(child_past_its_pivot, None)
    (answer,) = [d for d in driver.feed(driver.undo_request()) if isinstance(d, AnswerUndo)]
    assert answer.outcome == "failed"
    parent = Driver(family, 0)
    parent.feed(parent.reply(0))
    parent.feed(parent.reply(1, "c"))
    assert [d.id for d in parent.all if isinstance(d, UndoChild)] == ["uid-1:0:1"]
    parent.feed(parent.undone(1, "failed", problem=answer.problem or NO))
    assert parent.live.status == "stuck"


def test_on_real_servers_the_books_of_a_family_net_to_zero(books: System) -> None:
    books.orchestrator([books_too_much, books_twice])
    with SyncClient(books.settings) as client, pytest.raises(TooMuch):
        client.run(books_too_much, "f", id="f", timeout=deadline(20))
    assert books.rows("SELECT sum(amount)::int, count(*)::int FROM bookings") == [(0, 4)]
    assert books.rows("SELECT status FROM amends.sagas WHERE id = 'f-child'") == [("cancelled",)]
