"""A process's first session at Postgres, tried at the edge: is DATABASE_URL wrong, or is the server only away?

A server that is away is worth waiting for; a wrong name or password is not: the process says so and ends. Later
refusals are waited out like any loss, because somebody may be changing the password under a process that works.
"""

import psycopg

from orchestrator import limits
from orchestrator.errors import DependencyError
from orchestrator.settings import without_password

TRIAL_S = 5
# libpq gives no code for why a connection failed. A server that speaks another language is waited for, with warnings.
LASTING = (
    "does not exist",
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "permission denied",
    "not permitted to log in",
    "does not support SSL",
)


def try_session(database_url: str) -> None:
    """Open a session and close it. Raises DependencyError for what no waiting mends, and nothing for anything else."""
    try:
        with psycopg.connect(database_url, connect_timeout=TRIAL_S) as connection:
            refuse_old(connection.info, database_url)
    except psycopg.OperationalError as error:
        refuse_what_stays_so(error, database_url)


def refuse_old(server: psycopg.ConnectionInfo, database_url: str) -> None:
    """Raise DependencyError for a Postgres that is too old."""
    if server.server_version < limits.POSTGRES_VERSION_MIN:
        version = server.parameter_status("server_version")
        where = without_password(database_url)
        raise DependencyError(
            f"{where}: this Postgres is {version}; Amends needs {limits.POSTGRES_VERSION_MIN // 10_000} or later"
        )


def refuse_what_stays_so(error: psycopg.OperationalError, database_url: str) -> None:
    """Raise DependencyError if this error of a connection is one that no waiting mends."""
    said = " ".join(str(error).split())
    if any(text in said for text in LASTING):
        where = without_password(database_url)
        raise DependencyError(f"{where}: {said}. Is DATABASE_URL right? A new one needs `amends migrate`") from error
