"""An orchestrator is killed at the commits that the tests of takeovers do not come by; the next one goes on.

tests/unit/test_failpoints.py holds that no failpoint of the code is missing among the tests.
"""

import pytest

from orchestrator import SyncClient
from tests.deadlines import eventually
from tests.integration.engine.kit import System
from tests.integration.engine.program import Go, patient, refused, transfer
from tests.integration.engine.test_takeover import all_owned, check_books


@pytest.mark.slow
@pytest.mark.parametrize("place", ["engine.topic.before", "engine.topic.after"])
def test_killed_at_its_first_claim(books: System, place: str) -> None:
    doomed = books.orchestrator_process(failpoints=f"{place}=kill@2")
    with SyncClient(books.settings) as client:
        client.start(transfer, "k", id="k")
        eventually(lambda: doomed.ended, 30, f"the death at {place}")
        books.orchestrator_process()
        assert books.ended(["k"]) == {"k": "completed"}
    check_books(books, {"k": 30})


@pytest.mark.slow
@pytest.mark.parametrize("place", ["engine.release.before", "engine.release.after"])
def test_killed_while_it_gives_its_shards_back(books: System, place: str) -> None:
    doomed = books.orchestrator_process(failpoints=f"{place}=kill")
    eventually(lambda: all_owned(books, by=1), 30, "it owns all shards")
    with SyncClient(books.settings) as client:
        client.start(transfer, "k", id="k")
        client.start(refused, "r", id="r")
        assert doomed.stop() == -9
        books.orchestrator_process()
        assert books.ended(["k", "r"]) == {"k": "completed", "r": "failed"}
    check_books(books, {"k": 30, "r": 0})


@pytest.mark.slow
@pytest.mark.parametrize("place", ["engine.probing.before", "engine.probing.after"])
def test_killed_while_it_notes_whose_turns_come(books: System, place: str) -> None:
    """Killed from outside in the very moment in which a saga is noted alone looks like a deadly turn; it takes a second
    witness to condemn it (decision 0006), so it goes on.
    """
    first = books.orchestrator_process(failpoints="engine.commit.before=kill@3")
    with SyncClient(books.settings) as client:
        client.start(transfer, "k", id="k")
        eventually(lambda: first.ended, 30, "an unclean end")
        doomed = books.orchestrator_process(failpoints=f"{place}=kill")
        eventually(lambda: doomed.ended, 30, f"the death at {place}")
        books.orchestrator_process()
        assert books.ended(["k"]) == {"k": "completed"}
    check_books(books, {"k": 30})


@pytest.mark.slow
@pytest.mark.parametrize("place", ["engine.recover.before", "engine.recover.after"])
def test_killed_while_what_is_open_is_sent_again(books: System, place: str) -> None:
    stopped = books.orchestrator_process()
    ids = [f"p{n}" for n in range(8)]
    with SyncClient(books.settings) as client:
        for name in ids:
            client.start(patient, name, id=name)
        eventually(lambda: len(books.rows("SELECT 1 FROM bookings")) == 8, 30, "all have booked once")
        assert stopped.stop() == 0
        books.execute("UPDATE amends.shards SET topic_id = 'of a topic that is gone'")
        doomed = books.orchestrator_process(failpoints=f"{place}=kill@2")
        eventually(lambda: doomed.ended, 30, f"the death at {place}")
        books.orchestrator_process()
        for name in ids:
            client.send(name, Go())
        assert books.ended(ids) == dict.fromkeys(ids, "completed")
    check_books(books, dict.fromkeys(ids, 30))


@pytest.mark.slow
@pytest.mark.parametrize("place", ["engine.restored.before", "engine.restored.after"])
def test_killed_when_it_has_just_noticed_a_restore(books: System, place: str) -> None:
    """What is noted and what is done about it are one: nobody finds the new Postgres noted and the epochs as before."""
    stopped = books.orchestrator_process()
    with SyncClient(books.settings) as client:
        client.start(patient, "p", id="p")
        eventually(lambda: books.rows("SELECT 1 FROM bookings"), 30, "it has booked once")
        assert stopped.stop() == 0
        books.execute("UPDATE amends.installation SET timeline = 0")
        before = books.rows("SELECT shard, epoch FROM amends.shards ORDER BY shard")
        doomed = books.orchestrator_process(failpoints=f"{place}=kill")
        eventually(lambda: doomed.ended, 30, f"the death at {place}")
        raised = [(shard, epoch + (place == "engine.restored.after")) for shard, epoch in before]
        assert books.rows("SELECT shard, epoch FROM amends.shards ORDER BY shard") == raised
        books.orchestrator_process()
        client.send("p", Go())
        assert books.ended(["p"]) == {"p": "completed"}
    check_books(books, {"p": 30})
    assert books.rows("SELECT restored_at > known_until FROM amends.installation") == [(True,)]
    assert books.rows("SELECT 1 FROM amends.shards WHERE topic_id = 'restored'") == []
