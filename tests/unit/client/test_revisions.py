"""The revisions of a part stand in one line: two branches of work that each add one must be put in order."""

import pytest

from orchestrator.migrations import ALL_PARTS, migration_sql


@pytest.mark.parametrize("part", ALL_PARTS)
def test_a_part_has_one_latest_revision(part: str) -> None:
    assert "amends." in migration_sql([part], "")  # type: ignore[list-item]  # Alembic refuses two heads
