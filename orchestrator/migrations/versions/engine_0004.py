"""Whose token a verb came with, behind who logged in."""

from orchestrator.migrations.revisions import execute_file

revision = "engine_0004"
down_revision = "engine_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute_file("orchestrator.engine", "0004_given_by.sql")


def downgrade() -> None:
    raise NotImplementedError("restore a backup, or leave it: the code before does not mind")
