"""The relay's mode can be switched, and it remembers the slot that it made."""

from orchestrator.migrations.revisions import execute_file

revision = "outbox_0002"
down_revision = "outbox_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute_file("outbox_relay", "0002_switch_and_slot.sql")


def downgrade() -> None:
    raise NotImplementedError("journals are not taken back: restore a backup")
