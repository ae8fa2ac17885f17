"""A process that is killed from outside, again and again, must not bring its innocent sagas into quarantine."""

from typing import Any
from uuid import uuid4

import psycopg

from orchestrator import SyncClient
from orchestrator.engine import fence
from orchestrator.engine.installation import connect
from orchestrator.engine.probing import Probing
from orchestrator.engine.processing import Work
from orchestrator.engine.wakeups import DueTimer
from tests.deadlines import eventually
from tests.integration.engine import program
from tests.integration.engine.kit import System
from tests.integration.engine.program import patient

SHARD = 1


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


# ---- witnesses


def claimed(connection: psycopg.Connection[Any], known: Probing) -> dict[int, fence.Hold]:
    """One more worker takes the shard from one that is gone."""
    [epoch] = connection.execute("SELECT epoch FROM amends.shards WHERE shard = %s", (SHARD,)).fetchone() or [0]
    [hold] = fence.claim(connection, {SHARD: epoch}, uuid4())
    known.claimed(hold)
    return {SHARD: hold}


def turn_of(saga_id: str) -> Work:
    return DueTimer(1, saga_id, SHARD, 1)


def test_one_lost_owner_is_no_proof_against_the_saga_it_had_noted(system: System) -> None:
    """It may just have lost its sessions."""
    with connect(system.url, "test") as connection:
        first, second, third = Probing(), Probing(), Probing()
        claimed(connection, Probing())
        first.note(connection, claimed(connection, first), [turn_of("innocent")])
        holds = claimed(connection, second)
        assert second.condemned == set()
        work = [turn_of("other"), turn_of("innocent"), turn_of("another")]
        assert list(second.portions(work)) == [[one] for one in work]
        # It runs alone, and well: the commit takes the note away.
        second.note(connection, holds, [turn_of("innocent")])
        with connection.transaction():
            connection.execute(fence.FENCE, fence.fence_params(list(holds.values()), {}))
        claimed(connection, third)
        assert third.condemned == set()
        assert list(third.portions(work)) == [work]


def test_two_owners_lost_with_it_the_second_with_it_alone_are(system: System) -> None:
    with connect(system.url, "test") as connection:
        first, second, third = Probing(), Probing(), Probing()
        claimed(connection, Probing())
        first.note(connection, claimed(connection, first), [turn_of("deadly"), turn_of("innocent")])
        holds = claimed(connection, second)
        second.note(connection, holds, [turn_of("deadly")])
        claimed(connection, third)
        assert third.condemned == {"deadly"}


def test_an_owner_that_was_lost_before_it_came_to_a_suspect_is_no_witness(system: System) -> None:
    with connect(system.url, "test") as connection:
        first, second, third = Probing(), Probing(), Probing()
        claimed(connection, Probing())
        first.note(connection, claimed(connection, first), [turn_of("suspect")])
        claimed(connection, second)
        claimed(connection, third)
        assert (second.condemned, third.condemned) == (set(), set())
