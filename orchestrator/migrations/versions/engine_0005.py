"""Who watches, and what moved while somebody did."""

from orchestrator.migrations.revisions import execute_file

revision = "engine_0005"
down_revision = "engine_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute_file("orchestrator.engine", "0005_moved.sql")


def downgrade() -> None:
    raise NotImplementedError("restore a backup, or leave it: the code before does not mind")
