"""What people ask of a saga: it is carried out once, and the row that says who asked and what came of it stays."""

import pytest

from orchestrator import Command, Failure, Participant, Saga, SagaFailed, SyncClient, Transaction, saga
from tests.deadlines import deadline, eventually
from tests.integration.engine.kit import System
from tests.integration.engine.program import Go, Post, TooMuch
from tests.roles import login_of

storage = Participant("storage")


class Store(Command[str], service="storage"):
    """Its undo asks the table `stubborn` whether it may."""

    what: str


class Rusted(Failure):
    what: str


@storage.handles(Store)
async def store(cmd: Store, tx: Transaction) -> str:
    await tx.connection.execute("INSERT INTO stored VALUES (%s)", (cmd.what,))
    return cmd.what


@store.undo
async def take_out(cmd: Store, _: str, tx: Transaction) -> None:
    row = await (await tx.connection.execute("SELECT 1 FROM stubborn WHERE what = %s", (cmd.what,))).fetchone()
    if row is not None:
        raise Rusted(what=cmd.what)
    await tx.connection.execute("DELETE FROM stored WHERE what = %s", (cmd.what,))


@saga
async def stores_and_fails(s: Saga, what: str) -> None:
    await s.call(Post(account=what, amount=10))
    await s.call(Store(what=what))
    await s.call(Post(account=what, amount=1000))


@saga
async def waits(s: Saga, account: str) -> int:
    await s.call(Post(account=account, amount=10))
    await s.receive(Go)
    return await s.call(Post(account=account, amount=20))


@saga(name="deployed")
async def deployed(s: Saga, account: str) -> int:
    first = await s.call(Post(account=account, amount=10))
    await s.receive(Go)
    return first + await s.call(Post(account=account, amount=20))


@saga(name="deployed")
async def deployed_wrongly(s: Saga, account: str) -> int:
    """The same name and version, another first line: its journal does not fit."""
    first = await s.call(Post(account=account, amount=11))
    await s.receive(Go)
    return first + await s.call(Post(account=account, amount=20))


@pytest.fixture
def shop(books: System) -> System:
    books.execute("CREATE TABLE stored (what text)")
    books.execute("CREATE TABLE stubborn (what text)")
    books.participants([storage])
    return books


def total(system: System) -> int:
    return system.rows("SELECT coalesce(sum(amount), 0)::int FROM bookings")[0][0]


def audit(system: System) -> list[tuple[str, str, str]]:
    """(verb, note, outcome) of those that were carried out; each says when, and who gave it."""
    rows = system.rows(
        "SELECT verb, note, outcome, given_by, given_at <= done_at FROM amends.verbs WHERE done_at IS NOT NULL "
        "ORDER BY verb_no"
    )
    assert all(by in (login_of("person"), "postgres") and in_order for *_, by, in_order in rows)
    return [(verb, note, outcome) for verb, note, outcome, *_ in rows]


def is_now(system: System, saga_id: str, status: str) -> bool:
    return system.rows("SELECT status FROM amends.sagas WHERE id = %s", saga_id) == [(status,)]


def problem_of_the_only_saga(system: System) -> str:
    """As `amends show` says it."""
    ((problem,),) = system.rows("SELECT problem::json->>'text' FROM amends.sagas")
    return str(problem)


def made_stuck(shop: System, client: SyncClient) -> None:
    """A saga whose undo of `Store` says no, with one more undo behind it."""
    shop.orchestrator([stores_and_fails])
    shop.execute("INSERT INTO stubborn VALUES ('s')")
    client.start(stores_and_fails, "s", id="s")
    eventually(lambda: is_now(shop, "s", "stuck"), 30, "stuck")
    assert total(shop) == 10


def test_cancel_makes_amends(books: System) -> None:
    books.orchestrator([waits])
    with SyncClient(books.settings) as client:
        client.start(waits, "c", id="c")
        eventually(lambda: total(books) == 10, 30, "the first booking")
        client.cancel("c")
        assert books.ended(["c"]) == {"c": "cancelled"}
    assert total(books) == 0
    assert audit(books) == [("cancel", "", "done")]


def test_terminate_takes_nothing_back_and_says_what_stays(books: System) -> None:
    books.orchestrator([waits])
    with SyncClient(books.settings) as client:
        client.start(waits, "t", id="t")
        eventually(lambda: total(books) == 10, 30, "the first booking")
        client.terminate("t", note="the customer has died")
        assert books.ended(["t"]) == {"t": "terminated"}
    ((left,),) = books.rows("SELECT left_undone FROM amends.sagas")
    assert left == ["Post #0"]
    assert problem_of_the_only_saga(books) == "the customer has died"
    assert total(books) == 10
    assert audit(books) == [("terminate", "the customer has died", "done")]


def test_a_stuck_undo_is_tried_again(shop: System) -> None:
    with SyncClient(shop.settings) as client:
        made_stuck(shop, client)
        client.retry("s")
        eventually(lambda: audit(shop) == [("retry", "", "done")], 30, "the verb is carried out")
        eventually(lambda: is_now(shop, "s", "stuck"), 30, "it is refused once more")
        shop.execute("DELETE FROM stubborn")
        client.retry("s")
        with pytest.raises(TooMuch):
            client.result(stores_and_fails, "s", timeout=deadline(30))
    assert (total(shop), shop.rows("SELECT 1 FROM stored")) == (0, [])


def test_a_stuck_undo_is_skipped_with_a_note_and_the_rest_is_undone(shop: System) -> None:
    with SyncClient(shop.settings) as client:
        made_stuck(shop, client)
        client.skip("s", note="scrapped by hand")
        with pytest.raises(SagaFailed) as failed:  # not TooMuch: that would say that nothing stays
            client.result(stores_and_fails, "s", timeout=deadline(30))
    assert failed.value.left_undone == ("Store #1 (scrapped by hand)",)
    assert shop.rows("SELECT status, left_undone FROM amends.sagas") == [("failed", ["Store #1 (scrapped by hand)"])]
    assert (total(shop), len(shop.rows("SELECT 1 FROM stored"))) == (0, 1)


def test_a_stuck_saga_is_given_up_and_all_that_stays_is_listed(shop: System) -> None:
    with SyncClient(shop.settings) as client:
        made_stuck(shop, client)
        client.fail("s", note="enough")
        assert shop.ended(["s"]) == {"s": "failed"}
        # A verb after the end is refused, and even that leaves its row.
        shop.execute("INSERT INTO amends.verbs (saga_id, shard, verb) SELECT id, shard, 'retry' FROM amends.sagas")
        eventually(lambda: len(audit(shop)) == 2, 30, "the second verb")
    ((left,),) = shop.rows("SELECT left_undone FROM amends.sagas")
    assert {one.split(" (")[0] for one in left} == {"Post #0", "Store #1"}
    assert problem_of_the_only_saga(shop).endswith("(given up: enough)")
    assert total(shop) == 10
    assert audit(shop)[0] == ("fail", "enough", "done")
    assert audit(shop)[1][2].startswith("refused")


def test_after_a_mismatch_it_goes_on_with_the_right_code_and_what_came_meanwhile(books: System) -> None:
    stop = books.orchestrator([deployed])
    with SyncClient(books.settings) as client:
        client.start(deployed, "d", id="d")
        eventually(lambda: total(books) == 10, 30, "the first booking")
        eventually(lambda: len(books.rows("SELECT 1 FROM amends.journal")) == 2, 30, "its reply is journaled")
        stop()
        stop = books.orchestrator([deployed_wrongly])
        client.send("d", Go())
        eventually(lambda: is_now(books, "d", "blocked"), 30, "the quarantine")
        problem = books.rows("SELECT problem FROM amends.sagas")[0][0]
        assert "test_verbs.py:" in problem
        assert "unblock d" in problem
        client.unblock("d")
        eventually(lambda: audit(books), 30, "the first unblock")
        assert is_now(books, "d", "blocked")
        assert audit(books)[0][2].startswith("refused, still blocked")
        stop()
        books.orchestrator([deployed])
        client.unblock("d")
        assert client.result(deployed, "d", timeout=deadline(30)) == 30
    assert total(books) == 30
    assert audit(books)[1] == ("unblock", "", "done")
    assert books.rows("SELECT 1 FROM amends.held_entries") == []


def test_a_blocked_saga_can_be_terminated_in_the_dark(books: System) -> None:
    stop = books.orchestrator([deployed])
    with SyncClient(books.settings) as client:
        client.start(deployed, "d", id="d")
        eventually(lambda: len(books.rows("SELECT 1 FROM amends.journal")) == 2, 30, "its reply is journaled")
        stop()
        books.orchestrator([])
        client.send("d", Go())
        eventually(lambda: is_now(books, "d", "blocked"), 30, "an orchestrator without its code puts it aside")
        client.terminate("d", note="no such code any more")
        with pytest.raises(SagaFailed):
            client.result(deployed, "d", timeout=deadline(30))
    ((status, left),) = books.rows("SELECT status, left_undone FROM amends.sagas")
    assert status == "terminated"
    assert problem_of_the_only_saga(books) == "no such code any more"
    assert left[0].startswith("unknown")
    assert books.rows("SELECT 1 FROM amends.held_entries") == []


def test_verbs_for_sagas_that_are_not_there_do_not_stand_before_others(books: System) -> None:
    """Hundreds of verbs wait for the rows of their sagas; one behind them is carried out at once."""
    books.execute(
        "INSERT INTO amends.verbs (saga_id, shard, verb) "
        "SELECT 'q' || n, n % 4, 'cancel' FROM generate_series(1, 500) n"
    )
    books.orchestrator([waits])
    with SyncClient(books.settings) as client:
        client.start(waits, "c", id="c")
        eventually(lambda: total(books) == 10, 30, "the first booking")
        client.cancel("c")
        assert books.ended(["c"]) == {"c": "cancelled"}
