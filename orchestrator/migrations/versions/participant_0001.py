"""The inbox of a service, and what belongs to it."""

from orchestrator.migrations.revisions import execute_file

revision = "participant_0001"
down_revision = None
branch_labels = ("participant",)
depends_on = "outbox_0001"


def upgrade() -> None:
    execute_file("orchestrator.participant", "0001_participant.sql")


def downgrade() -> None:
    raise NotImplementedError("journals are not taken back: restore a backup")
