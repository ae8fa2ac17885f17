"""Children on real servers: a saga inside a saga, its result, its no, and how it is taken back with its parent."""

import asyncio

import pytest

from orchestrator import OperationFailed, Saga, SagaFailed, SyncClient, saga
from tests.deadlines import deadline, eventually
from tests.integration.engine.kit import System
from tests.integration.engine.program import Go, Post, TooMuch


@saga
async def child_pays(s: Saga, account: str) -> int:
    return await s.call(Post(account=account, amount=10)) + await s.call(Post(account=account, amount=20))


@saga
async def child_refuses(s: Saga, account: str) -> int:
    await s.call(Post(account=account, amount=10))
    return await s.call(Post(account=account, amount=1000))


@saga
async def child_waits(s: Saga, account: str) -> int:
    await s.call(Post(account=account, amount=10))
    await s.receive(Go)
    return await s.call(Post(account=account, amount=20))


@saga
async def uses_result(s: Saga, account: str) -> int:
    await s.call(Post(account=account, amount=1))
    return await s.run(child_pays, account, id=f"{account}-child") + 1


@saga
async def goes_on_without(s: Saga, account: str) -> str:
    await s.call(Post(account=account, amount=1))
    try:
        await s.run(child_refuses, account, id=f"{account}-child")
    except TooMuch as no:
        return f"refused {no.amount}"
    return "paid"


@saga
async def fails_later(s: Saga, account: str) -> None:
    await s.call(Post(account=account, amount=1))
    await asyncio.gather(*(s.run(child_pays, f"{account}{n}", id=f"{account}-child-{n}") for n in range(3)))
    await s.call(Post(account=account, amount=1000))


@saga
async def waits_for_child(s: Saga, account: str) -> int:
    await s.call(Post(account=account, amount=1))
    return await s.run(child_waits, account, id=f"{account}-child")


@saga
async def takes_a_taken_id(s: Saga, account: str) -> str:
    await s.call(Post(account=account, amount=1))
    try:
        await s.run(child_pays, account, id="mine")
    except OperationFailed as error:
        return f"{error.error_type}: {error.effect}"
    return "it was free"


SAGAS = (
    child_pays,
    child_refuses,
    child_waits,
    uses_result,
    goes_on_without,
    fails_later,
    waits_for_child,
    takes_a_taken_id,
)


def total(system: System, pattern: str = "%") -> int:
    return system.rows("SELECT coalesce(sum(amount), 0)::int FROM bookings WHERE account LIKE %s", pattern)[0][0]


def status(system: System, saga_id: str) -> str | None:
    found = system.rows("SELECT status FROM amends.sagas WHERE id = %s", saga_id)
    return found[0][0] if found else None


def test_a_child_s_result_comes_back(books: System) -> None:
    books.orchestrator(SAGAS)
    with SyncClient(books.settings) as client:
        assert client.run(uses_result, "a", id="a", timeout=deadline(30)) == 31
    assert (total(books), status(books, "a-child")) == (31, "completed")


def test_a_child_s_failure_comes_out_as_itself_and_has_made_its_amends(books: System) -> None:
    books.orchestrator(SAGAS)
    with SyncClient(books.settings) as client:
        assert client.run(goes_on_without, "a", id="a", timeout=deadline(30)) == "refused 1000"
    assert (total(books), status(books, "a-child")) == (1, "failed")


def test_a_parent_that_fails_later_takes_its_completed_children_back(books: System) -> None:
    books.orchestrator(SAGAS)
    with SyncClient(books.settings) as client, pytest.raises(TooMuch):
        client.run(fails_later, "a", id="a", timeout=deadline(60))
    assert {status(books, f"a-child-{n}") for n in range(3)} == {"cancelled"}
    assert books.rows("SELECT account, sum(amount)::int FROM bookings GROUP BY account HAVING sum(amount) <> 0") == []
    assert len(books.rows("SELECT 1 FROM bookings WHERE amount > 0")) == 7


def test_it_does_so_with_another_orchestrator_than_the_one_that_ran_them(books: System) -> None:
    """Nothing of a child that is over is in memory then: its undo stack comes out of the journal."""
    stop = books.orchestrator(SAGAS)
    with SyncClient(books.settings) as client:
        client.start(waits_for_child, "b", id="b")
        client.send("b-child", Go())
        assert client.result(waits_for_child, "b", timeout=deadline(30)) == 20
        client.start(waits_for_child, "a", id="a")
        eventually(lambda: total(books, "a") == 11, 30, "the child waits")
        stop()
        books.orchestrator(SAGAS)
        client.cancel("a")
        assert books.ended(["a", "a-child"]) == {"a": "cancelled", "a-child": "cancelled"}
    assert (total(books, "a"), total(books, "b")) == (0, 31)


def test_a_cancel_of_the_parent_reaches_a_child_that_runs(books: System) -> None:
    books.orchestrator(SAGAS)
    with SyncClient(books.settings) as client:
        client.start(waits_for_child, "a", id="a")
        eventually(lambda: total(books) == 11, 30, "the child waits")
        client.cancel("a")
        assert books.ended(["a", "a-child"]) == {"a": "cancelled", "a-child": "cancelled"}
        with pytest.raises(SagaFailed):
            client.result(waits_for_child, "a", timeout=5)
    assert total(books) == 0


def test_a_child_s_id_that_is_taken_is_a_definite_no_to_its_parent(books: System) -> None:
    books.orchestrator(SAGAS)
    with SyncClient(books.settings) as client:
        assert client.run(child_pays, "stranger", id="mine", timeout=deadline(30)) == 30
        assert client.run(takes_a_taken_id, "a", id="a", timeout=deadline(30)) == "SagaIdTaken: none"
    # The stranger is nobody's child: it stays, and so does its money.
    assert (total(books, "stranger"), status(books, "mine"), total(books, "a")) == (30, "completed", 1)
    assert books.rows("SELECT kind, saga_id FROM amends.dead_letters") == [("start", "mine")]
