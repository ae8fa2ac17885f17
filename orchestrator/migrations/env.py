"""Alembic's entry: runs the revisions on the connection that `migrate` opened, or prints them.

Not for the `alembic` command: `amends migrate` is the only door, because it also takes the lock and fills the tables.
"""

from alembic import context

from orchestrator.migrations.revisions import SCHEMA, VERSION_TABLE

if context.is_offline_mode():
    context.configure(
        url="postgresql+psycopg://",
        literal_binds=True,
        version_table=VERSION_TABLE,
        version_table_schema=SCHEMA,
        output_buffer=context.config.output_buffer,
    )
    context.get_context().impl.static_output(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA};")
    with context.begin_transaction():
        context.run_migrations()
else:
    context.configure(
        connection=context.config.attributes["connection"],
        version_table=VERSION_TABLE,
        version_table_schema=SCHEMA,
    )
    context.run_migrations()
