"""Rule 22. A transactional step and its result are there together and once, in the database that the step writes to, no
matter how many processes run it: the first statement takes its key, and whoever comes second gets the stored result.
"""

import threading

import psycopg
import pytest

from orchestrator.engine import step_results
from tests.deadlines import deadline


@pytest.fixture
def accounts(stack, make_database) -> str:
    """A database of the user's, where nothing of ours is yet."""
    url = make_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE debits (amount int)")
    return url


def debits(url: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        (count,) = connection.execute("SELECT count(*) FROM debits").fetchone() or (0,)
    return count


def debit(connection) -> int:
    connection.execute("INSERT INTO debits VALUES (45)")
    return debit_number(connection)


def debit_number(connection) -> int:
    return connection.execute("SELECT count(*) FROM debits").fetchone()[0]


def test_a_second_run_gets_the_first_ones_result(accounts: str) -> None:
    assert [step_results.run(accounts, "u:0:1", debit) for _ in range(3)] == [1, 1, 1]
    assert step_results.run(accounts, "u:0:2", debit) == 2
    assert debits(accounts) == 2


def test_a_zombie_and_the_new_owner_at_once_are_one_debit(accounts: str) -> None:
    step_results.run(accounts, "u:0:0", lambda connection: None)
    inside, go_on, results = threading.Event(), threading.Event(), list[int]()

    def slow(connection) -> int:
        inside.set()
        assert go_on.wait(deadline(10))
        return debit(connection)

    runs = [threading.Thread(target=lambda: results.append(step_results.run(accounts, "u:0:1", slow)))]
    runs[0].start()
    assert inside.wait(deadline(10))
    runs.append(threading.Thread(target=lambda: results.append(step_results.run(accounts, "u:0:1", debit))))
    runs[1].start()
    runs[1].join(0.3)
    assert runs[1].is_alive(), "the second did not wait for the first"
    go_on.set()
    for run in runs:
        run.join(deadline(10))
    assert (results, debits(accounts)) == ([1, 1], 1)


def test_what_raised_left_nothing_and_may_be_tried_again(accounts: str) -> None:
    def debits_and_raises(connection) -> int:
        debit(connection)
        raise ValueError("after the debit")

    with pytest.raises(ValueError, match="after the debit"):
        step_results.run(accounts, "u:0:1", debits_and_raises)
    assert debits(accounts) == 0
    assert step_results.run(accounts, "u:0:1", debit) == 1


@pytest.mark.parametrize("verb", ["commit", "rollback", "close"])
def test_the_users_function_can_not_end_the_transaction_that_is_not_its_own(accounts: str, verb: str) -> None:
    def ends_it(connection) -> int:
        debit(connection)
        getattr(connection, verb)()
        return 1

    with pytest.raises(step_results.TransactionRefused):
        step_results.run(accounts, "u:0:1", ends_it)
    assert debits(accounts) == 0


async def test_an_async_one_is_the_same(accounts: str) -> None:
    async def debit_async(connection) -> int:
        await connection.execute("INSERT INTO debits VALUES (45)")
        return 7

    assert [await step_results.run_async(accounts, "u:0:1", debit_async) for _ in range(2)] == [7, 7]
    assert debits(accounts) == 1
