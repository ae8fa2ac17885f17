"""Local steps over crashes: a definite no that comes after a run whose end nobody saw is no proof (A5)."""

from orchestrator import SyncClient
from tests.deadlines import eventually
from tests.integration.engine.kit import System
from tests.integration.engine.program import doubtful, nosy


def test_a_no_after_a_run_that_may_have_had_its_effect_is_undone(books: System) -> None:
    doomed = books.orchestrator_process()
    with SyncClient(books.settings) as client:
        client.start(doubtful, "d", id="d")
        eventually(lambda: doomed.ended, 60, "the death inside the step")
        books.orchestrator_process()
        assert books.ended(["d"]) == {"d": "failed"}
    assert books.rows("SELECT 1 FROM step_runs") == []


def test_a_file_opened_by_saga_code_is_refused_with_its_line(books: System) -> None:
    books.orchestrator_process()
    with SyncClient(books.settings) as client:
        client.start(nosy, "/etc/hostname", id="n")
        problem = eventually(
            lambda: books.rows("SELECT problem FROM amends.sagas WHERE id = 'n' AND status = 'blocked'"), 60, "refusal"
        )
    assert "program.py:" in problem[0][0]
    assert "s.step" in problem[0][0]
