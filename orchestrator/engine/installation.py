"""Table installation, and how this process connects: what `amends migrate` has laid down, read once at the start."""

from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import UUID

import psycopg

from orchestrator.errors import DependencyError
from outbox_relay import arrays

CONNECT_TIMEOUT_S = 5
# A peer that is gone without a word is noticed within seconds; a transaction that stands still does not keep its locks.
_OPTIONS = "-c idle_in_transaction_session_timeout=5000 -c tcp_user_timeout=10000 -c lock_timeout=10000"

_READ: LiteralString = "SELECT shards, topic, nonce_secret FROM amends.installation"
# What the orchestrators before noted, in one statement: only one of several that come at once finds a difference.
# Whoever beat before this server was started beat before the restore, and a claim is no later than it: until then, at
# least, this database knows what happened.
_NOTE: LiteralString = """
    UPDATE amends.installation AS i
    SET system_identifier = now.system, timeline = now.timeline,
        restored_at = CASE WHEN before.system IS NOT NULL THEN clock_timestamp() END,
        known_until = CASE WHEN before.system IS NOT NULL THEN
            greatest(
                (SELECT max(beat_at) FROM amends.workers WHERE beat_at < pg_postmaster_start_time()),
                (SELECT max(claimed_at) FROM amends.shards)
            )
        END
    FROM (
        SELECT s.system_identifier::text AS system, c.timeline_id AS timeline
        FROM pg_control_system() AS s, pg_control_checkpoint() AS c
    ) AS now, (
        SELECT system_identifier AS system, timeline FROM amends.installation WHERE one FOR UPDATE
    ) AS before
    WHERE i.one AND (%s OR (before.system, before.timeline) IS DISTINCT FROM (now.system, now.timeline))
    RETURNING before.system IS NOT NULL
"""
_SHARDS: LiteralString = "SELECT shard, epoch, owner, batch_no FROM amends.shards"


@dataclass(frozen=True, slots=True)
class Installation:
    shards: int
    topic: str
    nonce_secret: bytes


def connect(url: str, application_name: str) -> psycopg.Connection[Any]:
    """A session in autocommit mode: transactions are opened where they are meant."""
    connection = psycopg.connect(
        url,
        autocommit=True,
        application_name=application_name,
        connect_timeout=CONNECT_TIMEOUT_S,
        options=_OPTIONS,
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=3,
    )
    arrays.register(connection)
    return connection


def read_installation(connection: psycopg.Connection[Any]) -> Installation:
    """Raises DependencyError when this database was never migrated, or this login is no orchestrator's."""
    try:
        row = connection.execute(_READ).fetchone()
    except psycopg.errors.InsufficientPrivilege as error:
        raise DependencyError(
            f"{connection.info.user} at database {connection.info.dbname!r}: {error.diag.message_primary}. "
            "An orchestrator logs in under the role `worker`: docs/operations/roles.md"
        ) from error
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        row = None
    if row is None:
        raise DependencyError(
            f"database {connection.info.dbname!r} at {connection.info.host}:{connection.info.port} has no installation "
            "of Amends. Nothing was started. Run `amends migrate` with the same DATABASE_URL"
        )
    return Installation(row[0], row[1], bytes(row[2]))


class Witness:
    """What an orchestrator was told was committed, for the day on which its database denies it.

    A backup whose files are put back as they were has the system id and the timeline of the Postgres that it was taken
    from. But no commit that we had the answer to can be missing from a database that has not gone back.
    """

    def __init__(self) -> None:
        self._holds: dict[int, tuple[int, UUID, int]] = {}

    def remember(self, shard: int, epoch: int, owner: UUID, batch_no: int) -> None:
        """Our claim of this shard, and our last batch, as far as they were answered."""
        self._holds[shard] = (epoch, owner, batch_no)

    def denied(self, shard: int, epoch: int, owner: UUID | None, batch_no: int) -> bool:
        """Tell whether this row is older than what we were told of it."""
        if shard not in self._holds:
            return False
        known_epoch, known_owner, known_batch_no = self._holds[shard]
        if epoch != known_epoch:
            return epoch < known_epoch
        return owner != known_owner or batch_no < known_batch_no


def restored(connection: psycopg.Connection[Any], witness: Witness) -> bool:
    """Whether this Postgres is another one than we knew, or has gone back: a backup was restored, or a replica took
    over (A8). Notes the new one; so true once for each change. To be called in the transaction that acts on it.
    """
    denied = any(witness.denied(*row) for row in connection.execute(_SHARDS))
    noted = connection.execute(_NOTE, (denied,)).fetchone()
    return noted is not None and bool(noted[0])
