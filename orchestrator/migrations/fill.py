"""The rows that an installation begins with. Every statement may be repeated; none changes what is there."""

import secrets
from typing import Any, LiteralString

import psycopg

from orchestrator.errors import DependencyError

NONCE_SECRET_BYTES = 32
SHARDS_DEFAULT = 8

INSERT_INSTALLATION: LiteralString = """
    INSERT INTO amends.installation (shards, topic, nonce_secret)
    VALUES (%s, %s, %s)
    ON CONFLICT (one) DO NOTHING
"""
SELECT_INSTALLATION: LiteralString = "SELECT shards, topic FROM amends.installation"
INSERT_SHARDS: LiteralString = """
    INSERT INTO amends.shards (shard)
    SELECT generate_series(0, %s - 1)
    ON CONFLICT (shard) DO NOTHING
"""


def fill_installation(connection: psycopg.Connection[Any], shards: int | None, topic: str) -> int:
    """Make the secret and the shards, once; return how many shards there are. Raises DependencyError for other values.

    The number of shards is where every saga's place comes from, so it stays as it was first chosen.
    """
    secret = secrets.token_bytes(NONCE_SECRET_BYTES)
    connection.execute(INSERT_INSTALLATION, [shards or SHARDS_DEFAULT, topic, secret])
    row = connection.execute(SELECT_INSTALLATION).fetchone()
    assert row is not None
    kept_shards, kept_topic = int(row[0]), str(row[1])
    if shards is not None and shards != kept_shards:
        raise DependencyError(
            f"this database has {kept_shards} shards, not {shards}: their number is fixed by the first `amends migrate`"
        )
    if topic != kept_topic:
        raise DependencyError(
            f"this database's sagas are in topic {kept_topic}, not {topic}: set AMENDS_TOPIC_PREFIX as it was, "
            "or use another database"
        )
    connection.execute(INSERT_SHARDS, [kept_shards])
    return kept_shards
