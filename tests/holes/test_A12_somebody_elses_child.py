"""A12, MONEY: two orders named their child `dispatch-7`; the second attached to the first's, and took it back."""

from orchestrator import Saga, SyncClient, saga
from tests.deadlines import deadline, eventually
from tests.holes.shops import balances
from tests.integration.engine.kit import System
from tests.integration.engine.program import Go, Post


@saga
async def dispatch(s: Saga, account: str) -> int:
    return await s.call(Post(account=account, amount=20))


@saga
async def order(s: Saga, account: str) -> int:
    booked = await s.call(Post(account=account, amount=10))
    booked += await s.run(dispatch, "shared", id="dispatch-7")
    await s.receive(Go)
    return booked


@saga
async def doomed_family(s: Saga, account: str) -> None:
    """Its child is at work when it is cancelled."""
    await s.run(patient_child, account, id=f"{account}-child")


@saga
async def patient_child(s: Saga, account: str) -> None:
    await s.call(Post(account=account, amount=20))
    await s.receive(Go)


def test_the_second_parent_fails_and_leaves_the_firsts_child_alone(books: System) -> None:
    books.orchestrator([order, dispatch])
    with SyncClient(books.settings) as client:
        client.start(order, "first", id="first")
        eventually(lambda: balances(books) == {"first": 10, "shared": 20}, 30, "the first's child is done")
        client.start(order, "second", id="second")
        assert books.ended(["second"]) == {"second": "failed"}
        assert "SagaIdTaken" in books.rows("SELECT problem FROM amends.sagas WHERE id = 'second'")[0][0]
        client.send("first", Go())
        assert client.result(order, "first", timeout=deadline(30)) == 30
    assert balances(books) == {"first": 10, "shared": 20, "second": 0}


def test_a_child_at_work_is_cancelled_and_taken_back_before_its_parent_is_over(books: System) -> None:
    books.orchestrator([doomed_family, patient_child])
    with SyncClient(books.settings) as client:
        client.start(doomed_family, "f", id="f")
        eventually(lambda: balances(books) == {"f": 20}, 30, "the child has booked")
        client.cancel("f")
        assert books.ended(["f"]) == {"f": "cancelled"}
    assert balances(books) == {"f": 0}
    assert books.rows("SELECT status FROM amends.sagas WHERE id = 'f-child'") == [("cancelled",)]
