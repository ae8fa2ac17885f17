"""Table installation, and how this process connects: what `amends migrate` has laid down, read once at the start."""

from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg

from orchestrator.errors import DependencyError

CONNECT_TIMEOUT_S = 5
# A peer that is gone without a word is noticed within seconds; a transaction that stands still does not keep its locks.
_OPTIONS = "-c idle_in_transaction_session_timeout=5000 -c tcp_user_timeout=10000 -c lock_timeout=10000"

_READ: LiteralString = "SELECT shards, topic, nonce_secret FROM amends.installation"
_STATUS: LiteralString = """
    SELECT system_identifier, (SELECT timeline_id FROM pg_control_checkpoint()) FROM pg_control_system()
"""
_KNOWN: LiteralString = "SELECT system_identifier, timeline FROM amends.installation"
_NOTE: LiteralString = "UPDATE amends.installation SET system_identifier = %s, timeline = %s WHERE one"


@dataclass(frozen=True, slots=True)
class Installation:
    shards: int
    topic: str
    nonce_secret: bytes


def connect(url: str, application_name: str) -> psycopg.Connection[Any]:
    """A session in autocommit mode: transactions are opened where they are meant."""
    return psycopg.connect(
        url,
        autocommit=True,
        application_name=application_name,
        connect_timeout=CONNECT_TIMEOUT_S,
        options=_OPTIONS,
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=3,
    )


def read_installation(connection: psycopg.Connection[Any]) -> Installation:
    """Raises DependencyError when this database was never migrated."""
    try:
        row = connection.execute(_READ).fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        row = None
    if row is None:
        raise DependencyError(
            f"database {connection.info.dbname!r} at {connection.info.host}:{connection.info.port} has no installation "
            "of Amends. Nothing was started. Run `amends migrate` with the same DATABASE_URL"
        )
    return Installation(row[0], row[1], bytes(row[2]))


def restored(connection: psycopg.Connection[Any]) -> bool:
    """Whether this Postgres is another one than we knew: a backup was restored, or a replica took over (rule A8).

    Notes the new one. True only once for each change.
    """
    status = connection.execute(_STATUS).fetchone()
    known = connection.execute(_KNOWN).fetchone()
    assert status is not None
    assert known is not None
    now = (str(status[0]), int(status[1]))
    if (known[0], known[1]) == now:
        return False
    connection.execute(_NOTE, now)
    return known[0] is not None
