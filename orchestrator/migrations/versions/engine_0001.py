"""The orchestrator's own tables."""

from orchestrator.migrations.revisions import execute_file

revision = "engine_0001"
down_revision = None
branch_labels = ("engine",)
depends_on = "outbox_0001"


def upgrade() -> None:
    execute_file("orchestrator.engine", "0001_engine.sql")


def downgrade() -> None:
    raise NotImplementedError("journals are not taken back: restore a backup")
