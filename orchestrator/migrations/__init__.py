"""The tables of Amends in a database, by Alembic, in the schema `amends` with a version table of its own.

Three branches, because not every database needs all of them:

    outbox       every database that writes messages: the orchestrator's, each service's, any other that starts sagas
    participant  a service's database: the inbox and what belongs to it (needs the outbox)
    engine       the orchestrator's database (needs the outbox)

A branch's first revision executes the committed SQL file of the room that owns the tables; that file is the truth and
may be applied by hand (`amends migrate --sql` prints it). Your own Alembic, if you have one, does not see any of this.
"""

from orchestrator.migrations.migrate import ALL_PARTS as ALL_PARTS
from orchestrator.migrations.migrate import migrate as migrate
from orchestrator.migrations.migrate import migration_sql as migration_sql
from orchestrator.migrations.migrate import missing_revisions as missing_revisions
from orchestrator.migrations.roles import Part as Part

__all__ = ["ALL_PARTS", "Part", "migrate", "migration_sql", "missing_revisions"]
