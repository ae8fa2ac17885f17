"""The outbox, the topics it may write to, and what the relay keeps."""

from orchestrator.migrations.revisions import execute_file

revision = "outbox_0001"
down_revision = None
branch_labels = ("outbox",)
depends_on = None


def upgrade() -> None:
    execute_file("outbox_relay", "0001_outbox.sql")


def downgrade() -> None:
    raise NotImplementedError("journals are not taken back: restore a backup")
