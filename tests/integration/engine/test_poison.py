"""One bad saga: interrupted, isolated, and its neighbours go on (B4, B10)."""

import pytest

from orchestrator import SyncClient
from tests.deadlines import deadline, eventually
from tests.integration.engine.kit import System
from tests.integration.engine.program import endless, hanging, transfer


def test_a_turn_that_never_ends_is_interrupted_and_its_neighbours_go_on(books: System) -> None:
    books.orchestrator_process()
    with SyncClient(books.settings) as client:
        client.start(endless, "e", id="e")
        client.start(transfer, "n", id="n")
        assert books.ended(["n"]) == {"n": "completed"}
        status = eventually(
            lambda: books.rows("SELECT status, problem FROM amends.sagas WHERE id = 'e' AND status = 'blocked'"),
            30,
            "the quarantine",
        )
        assert "TurnTooLong" in status[0][1]
        assert client.run(transfer, "after", id="after", timeout=deadline(30)) == 32


@pytest.mark.slow
def test_a_turn_inside_c_code_costs_three_processes_at_most_and_is_quarantined(books: System) -> None:
    with SyncClient(books.settings) as client:
        client.start(hanging, "h", id="h")
        for _ in range(4):  # three die: of the first nobody knows why, the others are its witnesses
            doomed = books.orchestrator_process()
            eventually(lambda one=doomed: one.ended or is_blocked(books, "h"), 90, "a death, or the quarantine")
            if is_blocked(books, "h"):
                break
        assert is_blocked(books, "h")
        books.orchestrator_process()
        assert client.run(transfer, "after", id="after", timeout=deadline(30)) == 32


def is_blocked(books: System, saga_id: str) -> bool:
    return books.rows("SELECT status FROM amends.sagas WHERE id = %s", saga_id) == [("blocked",)]
