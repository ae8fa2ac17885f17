"""A saga's status is in no index; since when it waits for a person; dead letters of a topic that was made anew."""

from orchestrator.migrations.revisions import execute_file

revision = "engine_0002"
down_revision = "engine_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute_file("orchestrator.engine", "0002_indexes.sql")


def downgrade() -> None:
    raise NotImplementedError("restore a backup, or leave it: the code before does not mind")
