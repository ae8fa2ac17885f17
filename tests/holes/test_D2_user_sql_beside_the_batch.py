"""D2, MONEY: the user's SQL ran in the batch's transaction: it waited for the user's locks with the shard's fence held,
and one deadlock, or one commit of the user's, took half a batch with it.
"""

from typing import Any

import psycopg

from orchestrator import Saga, SyncClient, saga
from tests.deadlines import deadline, eventually
from tests.integration.engine.kit import System
from tests.integration.engine.program import debit, transfer


@saga
async def debits(s: Saga, account: str) -> int:
    return await s.transaction(debit, account)


def debit_and_commit(connection: psycopg.Connection[Any], account: str) -> int:
    connection.execute("INSERT INTO debits (account) VALUES (%s)", (account,))
    connection.commit()
    return 1


@saga
async def commits(s: Saga, account: str) -> int:
    return await s.transaction(debit_and_commit, account)


WAITS = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'debits'::regclass"


def test_a_step_that_waits_for_a_users_lock_holds_no_batch_up(books: System) -> None:
    books.orchestrator([debits])
    ids = [f"d{n}" for n in range(8)]
    with SyncClient(books.settings) as client, psycopg.connect(books.url) as user:
        user.execute("LOCK TABLE debits IN EXCLUSIVE MODE")
        for id in ids:
            client.start(debits, id, id=id)
        eventually(lambda: len(books.rows(WAITS)) == len(ids), 30, "all wait for the user")
        begun = dict(books.rows("SELECT shard, batch_no FROM amends.shards"))
        for id in ids:
            client.start(debits, id, id=f"{id}-again")
        more = "SELECT 1 FROM amends.journal OFFSET 15"
        eventually(lambda: books.rows(more), 10, "the batches go on")
        assert sum(dict(books.rows("SELECT shard, batch_no FROM amends.shards")).values()) > sum(begun.values())
        user.rollback()
        both = [*ids, *(f"{id}-again" for id in ids)]
        assert books.ended(both) == dict.fromkeys(both, "completed")
    assert dict(books.rows("SELECT account, count(*)::int FROM debits GROUP BY account")) == dict.fromkeys(ids, 2)


def test_an_owner_killed_behind_the_users_commit_leaves_one_debit(books: System) -> None:
    doomed = books.orchestrator_process(failpoints="step.transaction.after=kill@1")
    with SyncClient(books.settings) as client:
        client.start(transfer, "k", id="k")
        eventually(lambda: doomed.ended, 60, "the death behind the commit")
        assert books.rows("SELECT count(*)::int FROM debits") == [(1,)]
        books.orchestrator_process()
        assert client.result(transfer, "k", timeout=deadline(60)) == 32
    assert books.rows("SELECT count(*)::int FROM debits") == [(1,)]


def test_a_commit_of_the_users_own_is_refused_and_leaves_nothing(books: System) -> None:
    books.orchestrator([commits])
    with SyncClient(books.settings) as client:
        client.start(commits, "c", id="c")
        assert books.ended(["c"]) == {"c": "failed"}
    assert books.rows("SELECT 1 FROM debits") == []
