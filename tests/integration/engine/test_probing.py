"""A process that is killed from outside, again and again, must not bring its innocent sagas into quarantine."""

from orchestrator import SyncClient
from tests.deadlines import eventually
from tests.integration.engine import program
from tests.integration.engine.kit import System
from tests.integration.engine.program import patient


def test_the_note_of_whose_turn_it_is_goes_with_the_commit(books: System) -> None:
    with SyncClient(books.settings) as client:
        for n in range(3):
            doomed = books.orchestrator_process()
            client.start(patient, f"p{n}", id=f"p{n}")
            eventually(
                lambda n=n: books.rows("SELECT 1 FROM bookings WHERE account = %s", f"p{n}"), 60, "a booking after it"
            )
            eventually(
                lambda: not books.rows("SELECT 1 FROM amends.shards WHERE probing <> '{}'"), 10, "no note is left"
            )
            doomed.kill()
        books.orchestrator_process()
        for n in range(3):
            client.send(f"p{n}", program.Go())
        assert set(books.ended([f"p{n}" for n in range(3)]).values()) == {"completed"}
