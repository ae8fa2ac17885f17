"""A6, MONEY: a saga that took the faster of two gateways, or another one after a timeout, paid both and was
`completed`.
"""

import asyncio

import psycopg

from orchestrator import Saga, SyncClient, saga
from tests.deadlines import eventually
from tests.holes.shops import balances
from tests.integration.engine.kit import System
from tests.integration.engine.program import Post, ledger


@saga
async def faster_of_two(s: Saga, account: str) -> int:
    both = {asyncio.create_task(s.call(Post(account=account, amount=amount))) for amount in (10, 20)}
    done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    return done.pop().result()


@saga
async def other_gateway(s: Saga, account: str) -> int:
    try:
        async with asyncio.timeout(1):
            return await s.call(Post(account=account, amount=10))
    except TimeoutError:
        return await s.call(Post(account=account, amount=20))


def accounted_for(system: System, ids: list[str]) -> None:
    assert set(system.ended(ids).values()) == {"completed"}
    results = dict(system.rows("SELECT id, result::int FROM amends.sagas"))
    assert balances(system) == results


def test_what_stands_is_what_the_result_accounts_for(books: System) -> None:
    books.orchestrator([faster_of_two])
    ids = [f"r{n}" for n in range(20)]
    with SyncClient(books.settings) as client:
        for id in ids:
            client.start(faster_of_two, id, id=id)
        accounted_for(books, ids)
    assert books.rows("SELECT count(*)::int FROM bookings WHERE amount > 0")[0][0] >= len(ids)


def test_the_gateway_that_was_given_up_had_charged_all_the_same(quiet_books: System) -> None:
    """It is at work while the saga gives it up, and takes effect afterwards."""
    quiet_books.participants([ledger])
    quiet_books.orchestrator([other_gateway])
    with SyncClient(quiet_books.settings) as client, psycopg.connect(quiet_books.url) as gate:
        gate.execute("LOCK TABLE bookings IN EXCLUSIVE MODE")
        client.start(other_gateway, "g", id="g")
        gave_up = "SELECT 1 FROM amends.journal_entries WHERE entry ->> 'op' = 'call' OFFSET 1"
        eventually(lambda: quiet_books.rows(gave_up), 30, "it tries the other one")
        assert quiet_books.rows("SELECT status FROM amends.sagas") == [("running",)]
        gate.rollback()
        accounted_for(quiet_books, ["g"])
    assert quiet_books.rows("SELECT amount FROM bookings ORDER BY abs(amount), amount DESC") == [(10,), (-10,), (20,)]
