"""Ask Postgres and Kafka what `doctor` judges. Reads only; whatever can't be read is reported, never guessed."""

from typing import Any, LiteralString

import psycopg

from orchestrator.doctor import Kafka, Orchestrator, Postgres, Slot
from orchestrator.doctor_relay import Relay
from orchestrator.errors import DependencyError
from orchestrator.settings import Settings, without_password

CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT = "-c statement_timeout=10s"

SETTINGS: LiteralString = """
    SELECT name, setting FROM pg_settings
    WHERE name IN ('wal_level', 'max_replication_slots', 'max_wal_senders', 'synchronous_commit', 'fsync')
"""
SLOTS: LiteralString = """
    SELECT slot_name, active, coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint
    FROM pg_replication_slots WHERE database = current_database()
"""
COUNT_SLOTS: LiteralString = "SELECT count(*) FROM pg_replication_slots"
OLDEST_TRANSACTION: LiteralString = """
    SELECT coalesce(extract(epoch FROM clock_timestamp() - min(xact_start)), 0)::float8
    FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND datname = current_database() AND pid <> pg_backend_pid()
"""
HAS: LiteralString = "SELECT to_regclass(%s) IS NOT NULL"
REVISIONS: LiteralString = "SELECT version_num FROM amends.alembic_version"
TOPICS: LiteralString = "SELECT topic, partitions, topic_id FROM amends.topics"
OUTBOX: LiteralString = """
    SELECT count(*), coalesce(extract(epoch FROM (clock_timestamp() AT TIME ZONE 'UTC') - min("timestamp")), 0)::float8
    FROM (SELECT "timestamp" FROM amends.outbox ORDER BY seq LIMIT 10000) AS oldest
"""
OUTBOX_DEAD: LiteralString = "SELECT count(*) FROM amends.outbox_dead"
RELAY: LiteralString = """
    SELECT extract(epoch FROM clock_timestamp() - beat_at)::float8, state, coalesce(health ->> 'wanted', ''),
        coalesce(health ->> 'slot', ''),
        coalesce(extract(epoch FROM clock_timestamp() - (to_jsonb(l) ->> 'state_at')::timestamptz), 0)::float8
    FROM amends.relay_lease l
"""
RELAY_TROUBLE: LiteralString = """
    SELECT lost, extract(epoch FROM clock_timestamp() - lost_at)::float8 FROM amends.relay_slot WHERE lost IS NOT NULL
"""
INSTALLATION: LiteralString = """
    SELECT i.topic, i.shards, (SELECT count(*) FROM amends.shards WHERE owner IS NOT NULL), i.known_until, i.restored_at
    FROM amends.installation i
"""
WORKERS: LiteralString = "SELECT name, extract(epoch FROM clock_timestamp() - beat_at)::float8 FROM amends.workers"
PARKED: LiteralString = """
    SELECT status, count(*) FROM amends.sagas WHERE parked_at IS NOT NULL GROUP BY status
"""
DEAD_LETTERS: LiteralString = "SELECT count(*) FROM amends.dead_letters WHERE redriven_at IS NULL"


def postgres_facts(settings: Settings) -> Postgres:
    """Of the database in the settings."""
    url = settings.database_url.get_secret_value()
    where = without_password(url)
    try:
        with psycopg.connect(
            url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, options=STATEMENT_TIMEOUT
        ) as connection:
            return _asked(connection, where)
    except psycopg.Error as error:
        return Postgres(where=where, error=" ".join(str(error).split()))


def kafka_facts(settings: Settings, topics: list[str]) -> Kafka | None:
    """Of the cluster in the settings, and of these topics; None if the settings name none."""
    from orchestrator.messaging.kafka_admin import Admin

    where = settings.kafka_bootstrap_servers
    if not where:
        return None
    try:
        admin = Admin(where, settings.kafka_login())
        broker = admin.broker_settings()
        return Kafka(
            where=where,
            broker=broker,
            topics=admin.topic_settings(topics),
            partitions=admin.partitions(topics),
            topic_ids=admin.topic_ids(topics),
        )
    except DependencyError as error:
        return Kafka(where=where, error=str(error))


def _asked(connection: psycopg.Connection[tuple[Any, ...]], where: str) -> Postgres:
    facts: dict[str, Any] = {
        "where": where,
        "version": connection.info.server_version,
        "version_text": connection.info.parameter_status("server_version") or "",
        "settings": dict(_rows(connection, SETTINGS)),
        "slots_used": _value(connection, COUNT_SLOTS),
        "slots": tuple(
            Slot(name=str(name), active=active, keeps_bytes=keeps) for name, active, keeps in _rows(connection, SLOTS)
        ),
        "oldest_transaction_s": _value(connection, OLDEST_TRANSACTION),
    }
    if _has(connection, "amends.outbox"):
        facts |= _outbox_facts(connection)
        if _has(connection, "amends.sagas"):
            facts["orchestrator"] = _orchestrator_facts(connection)
    return Postgres(**facts)


def _outbox_facts(connection: psycopg.Connection[tuple[Any, ...]]) -> dict[str, Any]:
    rows, age_s = _rows(connection, OUTBOX)[0]
    found = _rows(connection, RELAY)
    beat_s, state, wanted, slot, state_s = found[0] if found else (None, "never", "", "", 0.0)
    trouble = _rows(connection, RELAY_TROUBLE) if _has(connection, "amends.relay_slot") else []
    return {
        "missing_revisions": _missing_revisions(connection),
        "topics": {topic: (partitions, topic_id) for topic, partitions, topic_id in _rows(connection, TOPICS)},
        "outbox_rows": rows,
        "outbox_age_s": age_s,
        "outbox_dead": _value(connection, OUTBOX_DEAD),
        "relay": Relay(
            beat_s=beat_s,
            state=state,
            state_s=state_s,
            wanted=wanted,
            slot=slot,
            trouble=trouble[0] if trouble else None,
        ),
    }


def _orchestrator_facts(connection: psycopg.Connection[tuple[Any, ...]]) -> Orchestrator | None:
    found = _rows(connection, INSTALLATION)
    if not found:
        return None
    topic, shards, owned, known_until, restored_at = found[0]
    return Orchestrator(
        topic=topic,
        shards=shards,
        owned_shards=owned,
        known_until=known_until,
        restored_at=restored_at,
        workers=dict(_rows(connection, WORKERS)),
        parked=dict(_rows(connection, PARKED)),
        dead_letters=_value(connection, DEAD_LETTERS),
    )


def _missing_revisions(connection: psycopg.Connection[tuple[Any, ...]]) -> tuple[str, ...]:
    from orchestrator.migrations import missing_revisions

    if not _has(connection, "amends.alembic_version"):
        return ("amends.alembic_version",)  # The SQL files were applied by hand: nobody can say which.
    return missing_revisions(str(version) for (version,) in _rows(connection, REVISIONS))


def _rows(connection: psycopg.Connection[tuple[Any, ...]], sql: LiteralString) -> list[tuple[Any, ...]]:
    return connection.execute(sql).fetchall()


def _value(connection: psycopg.Connection[tuple[Any, ...]], sql: LiteralString) -> Any:
    return _rows(connection, sql)[0][0]


def _has(connection: psycopg.Connection[tuple[Any, ...]], table: str) -> bool:
    return bool(connection.execute(HAS, [table]).fetchall()[0][0])
