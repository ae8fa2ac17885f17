"""A saga's row holds its input until the first turn, and no longer."""

from orchestrator.migrations.revisions import execute_file

revision = "engine_0003"
down_revision = "engine_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute_file("orchestrator.engine", "0003_smaller_rows.sql")


def downgrade() -> None:
    raise NotImplementedError("restore a backup: the code before can't read what this one writes")
