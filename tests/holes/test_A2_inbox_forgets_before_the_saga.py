"""A2, MONEY: the saga waited for weeks, the inbox was purged meanwhile, and the undo was told "nothing to undo"."""

from orchestrator import Saga, SyncClient, saga
from tests.deadlines import eventually
from tests.holes.shops import balances
from tests.integration.engine.kit import System
from tests.integration.engine.program import Go, Post


@saga
async def waits_for_approval(s: Saga, account: str) -> None:
    await s.call(Post(account=account, amount=10))
    await s.call(Post(account=account, amount=35))
    await s.receive(Go)
    await s.call(Post(account=account, amount=1000))


def test_the_books_net_to_zero_though_the_participant_has_forgotten_everything(books: System) -> None:
    books.orchestrator([waits_for_approval])
    with SyncClient(books.settings) as client:
        client.start(waits_for_approval, "a", id="a")
        eventually(lambda: balances(books) == {"a": 45}, 30, "both are booked")
        done = "SELECT 1 FROM amends.inbox WHERE state = 'done' OFFSET 1"
        eventually(lambda: books.rows(done), 10, "both are known")
        books.execute("DELETE FROM amends.inbox")
        client.send("a", Go())
        assert books.ended(["a"]) == {"a": "failed"}
    booked = books.rows("SELECT amount FROM bookings ORDER BY abs(amount), amount DESC")
    assert booked == [(10,), (-10,), (35,), (-35,)]
