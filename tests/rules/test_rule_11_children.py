"""Rule 11. A child that has ended can still be taken back while its root can: its parent asks it by a message, as it
would a participant, and gets an answer when all of the child is taken back, or a no if it can't be.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator import Saga, SyncClient, TimedOut, saga
from orchestrator.core.decisions import AnswerUndo, Decision, Settle, SettleChild, UndoChild
from orchestrator.engine.turns import Start
from orchestrator.messaging import outgoing
from orchestrator.messaging.nonce import nonce_of
from orchestrator.testing import Simulation
from tests.deadlines import deadline, eventually
from tests.integration.engine.kit import System
from tests.integration.engine.program import Post, TooMuch
from tests.rules.inside import SECRET, SHARD, Inside
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
async def good_family(s: Saga, _: int) -> str:
    await s.call(Reserve(sku="parent"))
    return await s.run(child, 0)


@saga
async def keeps_its_child(s: Saga, _: int) -> None:
    async with s.scope() as scope:
        scope.keep()
        with suppress(TimedOut):
            await s.run(child, 0, timeout=5)


@saga
async def grandparent(s: Saga, _: int) -> None:
    try:
        await s.run(family, 0)
    except Exception:
        return
    raise AssertionError("the family fails")


@saga(name="says")
async def says(s: Saga, _: int) -> None:
    s.set("word", "one")


@saga(name="says")
async def says_otherwise(s: Saga, _: int) -> None:
    s.set("word", "another")


@saga
async def books_twice(s: Saga, account: str) -> int:
    return await s.call(Post(account=account, amount=10)) + await s.call(Post(account=account, amount=20))


@saga
async def books_a_child(s: Saga, account: str) -> int:
    return await s.run(books_twice, account, id=f"{account}-grandchild")


@saga
async def books_a_grandchild(s: Saga, account: str) -> int:
    return await s.run(books_a_child, account, id=f"{account}-child")


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


def settled(decisions: Sequence[Decision]) -> list[tuple[str, tuple[int, ...]] | str]:
    """What may be forgotten: of a service, or a child."""
    found: list[tuple[str, tuple[int, ...]] | str] = []
    for decision in decisions:
        match decision:
            case Settle(service=service, seqs=seqs):
                found.append((service, seqs))
            case SettleChild(id=id):
                found.append(id)
    return found


def test_when_its_root_has_ended_a_completed_child_lets_its_participants_forget() -> None:
    root = Driver(good_family, 0)
    root.feed(root.reply(0))
    root.feed(root.reply(1, "c"))
    assert settled(root.all) == [("stock", (0,)), "uid-1:0:1"]
    driver = ended_child(child, None, {"charge": "c"})
    assert settled(driver.feed(driver.settle_request())) == [("stock", (0,)), ("payments", (1,))]
    assert driver.live.status == "completed"
    assert driver.ignored(driver.settle_request()) == "it was let go before"


def test_the_word_is_passed_on_and_not_before_it_was_given() -> None:
    middle = Driver(good_family, 0, parent_id="root")
    middle.feed(middle.reply(0))
    middle.feed(middle.reply(1, "c"))
    assert settled(middle.all) == []
    assert settled(middle.feed(middle.settle_request())) == [("stock", (0,)), "uid-1:0:1"]


def test_a_child_that_was_kept_is_let_go_while_it_runs_and_settles_when_it_ends() -> None:
    root = Driver(keeps_its_child, 0)
    root.feed(root.timer())
    assert settled(root.all) == ["uid-1:0:0"]
    driver = Driver(child, 0, parent_id="order-0")
    assert driver.feed(driver.settle_request()) == ()
    driver.feed(driver.reply(0))
    driver.feed(driver.reply(1, {"charge": "c"}))
    assert settled(driver.all) == [("stock", (0,)), ("payments", (1,))]


def test_what_was_taken_back_or_settled_by_itself_is_not_settled_twice() -> None:
    past = ended_child(child_past_its_pivot, None)
    assert settled(past.all) == [("stock", (0,))]
    assert past.ignored(past.settle_request()) == "it was settled when it ended"
    parent = Driver(family, 0)
    parent.feed(parent.reply(0))
    parent.feed(parent.reply(1, "c"))
    parent.feed(parent.undone(1))
    parent.feed(parent.undone(0))
    assert settled(parent.all) == [("stock", (0,))]


def test_a_child_whose_code_has_changed_since_it_ended_is_let_go_in_peace() -> None:
    before, after = Inside(says), Inside(says_otherwise)
    row = replace(before.saga_row(says, 0, "c"), parent_id="p", parent_key="u:0:1", parent_reply_to="sagas/0")
    before._batch(lambda batch: before.turns.start(batch, Start(row), [], before.raw("c")))
    assert before.resident("c").status == "completed"
    after.take_over(before, "c")
    word = outgoing.child_settle_row(
        topic="sagas", shard=SHARD, child_id="c", operation_key="u:0:1", nonce=nonce_of(SECRET, "u:0:1")
    )
    writes = after.come(word)
    assert (writes.moves, writes.turns) == ({}, [])
    assert list(writes.ignored) == ["a child was let go that can't be replayed"]
    assert len(before.come(word).turns) == 1


def test_on_real_servers_nothing_of_a_family_is_remembered_longer_than_its_root_is_open(books: System) -> None:
    books.orchestrator([books_a_grandchild, books_a_child, books_twice])
    with SyncClient(books.settings) as client:
        assert client.run(books_a_grandchild, "g", id="g", timeout=deadline(30)) == 30
    assert books.rows("SELECT count(*)::int FROM bookings") == [(2,)]
    not_settled = "SELECT key FROM amends.inbox WHERE NOT settled"
    eventually(lambda: not books.rows(not_settled), 30, "the inbox may forget all")
    assert {status for (status,) in books.rows("SELECT status FROM amends.sagas")} == {"completed"}


def test_on_real_servers_the_books_of_a_family_net_to_zero(books: System) -> None:
    books.orchestrator([books_too_much, books_twice])
    with SyncClient(books.settings) as client, pytest.raises(TooMuch):
        client.run(books_too_much, "f", id="f", timeout=deadline(20))
    assert books.rows("SELECT sum(amount)::int, count(*)::int FROM bookings") == [(0, 4)]
    assert books.rows("SELECT status FROM amends.sagas WHERE id = 'f-child'") == [("cancelled",)]
