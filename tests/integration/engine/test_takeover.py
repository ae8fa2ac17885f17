"""Crash, takeover, fencing: whoever dies or stands still, every saga goes on once, and no effect is doubled."""

import signal

import pytest

from orchestrator import SyncClient
from tests.deadlines import deadline, eventually
from tests.integration.engine import program
from tests.integration.engine.kit import SHARDS, System
from tests.integration.engine.program import patient, refused, transfer


def owners(system: System) -> list[tuple[int, str | None]]:
    return system.rows(
        "SELECT s.shard, w.name FROM amends.shards s LEFT JOIN amends.workers w USING (worker) ORDER BY s.shard"
    )


def all_owned(system: System, by: int) -> bool:
    names = {name for _, name in owners(system)}
    return None not in names and len(names) == by


def check_books(system: System, totals: dict[str, int]) -> None:
    """Each key was booked once (an undo has a key of its own), and the sums are what the sagas say."""
    assert system.rows("SELECT key FROM bookings GROUP BY key, sign(amount) HAVING count(*) > 1") == []
    sums = dict(system.rows("SELECT account, sum(amount)::int FROM bookings GROUP BY account"))
    assert {account: sums.get(account, 0) for account in totals} == totals


def test_a_hot_standby_takes_over_from_a_killed_orchestrator(books: System) -> None:
    first, second = books.orchestrator_process(), books.orchestrator_process()
    eventually(lambda: all_owned(books, by=2), 30, "both orchestrators own shards")
    ids = [f"t{n}" for n in range(30)]
    with SyncClient(books.settings) as client:
        for name in ids[:20]:
            client.start(transfer, name, id=name)
        eventually(lambda: books.rows("SELECT 1 FROM bookings LIMIT 1"), 30, "the first booking")
        first.kill()
        for name in ids[20:]:
            client.start(refused, name, id=name)
    statuses = books.ended(ids)
    assert {statuses[name] for name in ids[:20]} == {"completed"}
    assert {statuses[name] for name in ids[20:]} == {"failed"}
    check_books(books, {**dict.fromkeys(ids[:20], 30), **dict.fromkeys(ids[20:], 0)})
    # The transaction ran once; the step at least once, always under one key.
    assert dict(books.rows("SELECT account, count(*)::int FROM debits GROUP BY account")) == dict.fromkeys(ids[:20], 1)
    assert books.rows("SELECT account FROM step_runs GROUP BY account HAVING count(DISTINCT key) <> 1") == []
    assert second.stop() == 0


def test_a_stopped_orchestrator_is_robbed_and_does_no_harm_when_it_wakes(books: System) -> None:
    first, second = books.orchestrator_process(), books.orchestrator_process()
    eventually(lambda: all_owned(books, by=2), 30, "both orchestrators own shards")
    ids = [f"s{n}" for n in range(20)]
    with SyncClient(books.settings) as client:
        for name in ids:
            client.start(patient, name, id=name)
        eventually(lambda: len(books.rows("SELECT 1 FROM bookings")) == 20, 30, "twenty bookings")
        first.signal(signal.SIGSTOP)
        for name in ids:
            client.send(name, program.Go())
        assert set(books.ended(ids).values()) == {"completed"}
        eventually(lambda: all_owned(books, by=1), 10, "the second owns all")
        first.signal(signal.SIGCONT)
        eventually(lambda: all_owned(books, by=2), 30, "the woken one asks for its share and gets it")
        client.run(transfer, "after", id="after", timeout=deadline(30))
    check_books(books, {**dict.fromkeys(ids, 30), "after": 30})
    assert first.stop() == 0
    assert second.stop() == 0


def test_stopped_inside_a_commit_it_holds_nobody_up(books: System) -> None:
    stuck = books.orchestrator_process(failpoints="engine.commit.before=stop@1")
    eventually(lambda: all_owned(books, by=1), 30, "it owns all shards")
    with SyncClient(books.settings) as client:
        client.send("c", program.Go())  # kept in the mailbox, by a transaction of several statements
        eventually(lambda: stuck.stopped, 30, "it stands still")
        free = "SELECT shard FROM amends.shards FOR UPDATE SKIP LOCKED"
        eventually(lambda: len(books.rows(free)) == SHARDS - 1, 30, "its transaction holds its shard's row")
        client.start(transfer, "c", id="c")
        rescuer = books.orchestrator_process()
        assert books.ended(["c"]) == {"c": "completed"}
        stuck.signal(signal.SIGCONT)
        assert client.run(transfer, "d", id="d", timeout=deadline(30)) == 32
    check_books(books, {"c": 30, "d": 30})
    assert rescuer.stop() == 0
    assert stuck.stop() == 0


def test_a_planned_stop_hands_over_without_a_pause(books: System) -> None:
    first, second = books.orchestrator_process(), books.orchestrator_process()
    eventually(lambda: all_owned(books, by=2), 30, "both orchestrators own shards")
    assert first.stop() == 0
    eventually(lambda: all_owned(books, by=1), 2, "the second owns all, without waiting for a lease")
    with SyncClient(books.settings) as client:
        assert client.run(transfer, "p", id="p", timeout=deadline(30)) == 32
    assert second.stop() == 0


@pytest.mark.parametrize(
    ("place", "hit"),
    [
        ("engine.commit.before", 3),
        ("engine.claim.after", 1),
        pytest.param("engine.commit.before", 1, marks=pytest.mark.slow),
        pytest.param("engine.commit.after", 1, marks=pytest.mark.slow),
        pytest.param("engine.commit.after", 3, marks=pytest.mark.slow),
        pytest.param("engine.claim.before", 1, marks=pytest.mark.slow),
    ],
)
def test_killed_at_a_commit_and_started_again(books: System, place: str, hit: int) -> None:
    doomed = books.orchestrator_process(failpoints=f"{place}=kill@{hit}")
    with SyncClient(books.settings) as client:
        client.start(transfer, "k", id="k")
        client.start(refused, "r", id="r")
        eventually(lambda: doomed.ended, 30, f"the death at {place}")
        books.orchestrator_process()
        assert books.ended(["k", "r"]) == {"k": "completed", "r": "failed"}
    check_books(books, {"k": 30, "r": 0})
    assert books.rows("SELECT account, count(*) FROM debits GROUP BY account") == [("k", 1)]
