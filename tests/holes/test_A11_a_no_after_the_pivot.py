"""A11, MONEY: after the point of no return a clear no ended the saga as `failed`, in silence, with the goods sent."""

from orchestrator import Saga, SyncClient, saga
from tests.deadlines import eventually
from tests.holes.shops import balances, decided
from tests.integration.engine.kit import System
from tests.integration.engine.program import Post


@saga
async def sends_then_books(s: Saga, account: str) -> int:
    booked = await s.call(Post(account=account, amount=10))
    s.pivot()
    return booked + await s.call(Post(account=account, amount=1000))


def test_it_is_for_a_person_nothing_is_taken_back_and_a_cancel_is_too_late(books: System) -> None:
    books.orchestrator([sends_then_books])
    with SyncClient(books.settings) as client:
        client.start(sends_then_books, "p", id="p")
        stuck = "SELECT problem FROM amends.sagas WHERE status = 'stuck'"
        assert "TooMuch" in eventually(lambda: books.rows(stuck), 30, "it is stuck")[0][0]
        client.cancel("p")
        answered = "SELECT outcome FROM amends.verbs WHERE done_at IS NOT NULL"
        eventually(lambda: books.rows(answered), 30, "the cancel is answered")
        assert books.rows("SELECT status, ended_at FROM amends.sagas") == [("stuck", None)]
        client.fail("p", note="written off")
        assert books.ended(["p"]) == {"p": "failed"}
    [(left,)] = books.rows("SELECT left_undone FROM amends.sagas")
    assert [name.split()[0] for name in left] == ["Post"]
    assert (balances(books), decided(books, "undo")) == ({"p": 10}, 0)
