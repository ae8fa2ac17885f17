"""A saga's status is in no index, and since when it waits for a person."""

from orchestrator.migrations.revisions import execute_file

revision = "engine_0002"
down_revision = "engine_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute_file("orchestrator.engine", "0002_parked.sql")


def downgrade() -> None:
    raise NotImplementedError("restore a backup, or leave it: the code before does not mind")
