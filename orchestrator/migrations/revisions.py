"""What the revision files share: where the SQL files are, and how one is executed or printed as it stands."""

import importlib.resources
from typing import Final

from alembic import op

SCHEMA: Final = "amends"
VERSION_TABLE: Final = "alembic_version"


def execute_file(package: str, name: str) -> None:
    """Run a committed SQL file of the room `package`, as one script; offline, print it.

    As a driver's string without parameters: neither `:name` nor `%` in it means anything to SQLAlchemy or psycopg.
    """
    script = importlib.resources.files(package).joinpath("sql", name).read_text("utf-8")
    context = op.get_context()
    if context.as_sql:
        context.impl.static_output(script)
        return
    connection = op.get_bind().execution_options(no_parameters=True)
    connection.exec_driver_sql(script)
