"""A migration that is stopped half-way, however: nothing of it is there, and the next one does all of it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from orchestrator.messaging.kafka_admin import Admin
from orchestrator.migrations import migrate
from tests.deadlines import deadline, eventually

HOLD = 77
APP = "tests.bad_input.program:app"

# Stops the session at one object of the migration, as if the machine were slow right there.
TRIGGER = f"""
    CREATE FUNCTION public.wait_here() RETURNS event_trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (
            SELECT FROM pg_event_trigger_ddl_commands()
            WHERE starts_with(object_identity, current_setting('test.stop_at', true))
        ) THEN PERFORM pg_advisory_xact_lock({HOLD});
        END IF;
    END $$;
    CREATE EVENT TRIGGER wait_here ON ddl_command_end EXECUTE FUNCTION public.wait_here();
"""
PLACES = {
    "waiting for another one": None,
    "in the outbox": "amends.outbox_dead",
    "in the participant's tables": "amends.inbox",
    "in the engine's tables": "amends.journal",
    "at the last function": "amends.start_saga(",
}


@contextmanager
def held_at(url: str, place: str | None) -> Iterator[psycopg.Connection]:
    """Yields a session that holds the migration up there; it goes on when the block ends."""
    with psycopg.connect(url, autocommit=True) as admin:
        if place is None:
            admin.execute("SELECT pg_advisory_lock(%s)", [0x616D656E6473])
        else:
            admin.execute(TRIGGER)
            name = admin.info.dbname
            admin.execute(psycopg.sql.SQL("ALTER DATABASE {} SET test.stop_at = {}").format(
                psycopg.sql.Identifier(name), psycopg.sql.Literal(place)))  # fmt: skip
            admin.execute("SELECT pg_advisory_lock(%s)", [HOLD])
        yield admin


def waits(admin: psycopg.Connection) -> int | None:
    found = admin.execute(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"
    ).fetchone()
    return None if found is None else int(found[0])


def tables(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'amends'")
        return {name for (name,) in found}


def amends_migrate(url: str, kafka: str, prefix: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli", "migrate", APP, "--shards", "2"],
        env={**os.environ, "DATABASE_URL": url, "KAFKA_BOOTSTRAP_SERVERS": kafka, "AMENDS_TOPIC_PREFIX": prefix},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGKILL", "its session is ended"])
@pytest.mark.parametrize("place", PLACES)
def test_stopped_there_nothing_is_left_and_the_next_one_does_it_all(
    database_url: str, kafka_bootstrap_servers: str, topic_prefix: str, place: str, how: str
) -> None:
    with held_at(database_url, PLACES[place]) as admin:
        doomed = amends_migrate(database_url, kafka_bootstrap_servers, topic_prefix)
        pid = eventually(lambda: waits(admin) or (doomed.poll() is not None and -1), 60, f"the migration is {place}")
        assert pid > 0, doomed.communicate()
        if how == "SIGKILL":
            doomed.send_signal(signal.SIGKILL)
            assert doomed.wait() == -signal.SIGKILL
            # Its session learns of that when it is to answer; a machine that lost power would be told by TCP.
            admin.execute("SELECT pg_terminate_backend(%s)", [pid])
        else:
            admin.execute("SELECT pg_terminate_backend(%s)", [pid])
            _, said = doomed.communicate(timeout=deadline(60))
            assert doomed.returncode == 5, said
            assert "nothing was changed" in said
            assert "Traceback" not in said
        eventually(lambda: waits(admin) is None, 20, "the session is gone")
        assert tables(database_url) == set()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP EVENT TRIGGER IF EXISTS wait_here")
    again = amends_migrate(database_url, kafka_bootstrap_servers, topic_prefix)
    _, said = again.communicate(timeout=deadline(60))
    assert again.returncode == 0, said
    assert {"outbox", "inbox", "sagas", "journal"} <= tables(database_url)
    found = Admin(kafka_bootstrap_servers).partitions([f"{topic_prefix}sagas", f"{topic_prefix}till.commands"])
    assert found == {f"{topic_prefix}sagas": 2, f"{topic_prefix}till.commands": 4}


def test_one_that_made_its_topics_and_no_tables_is_repeated(
    database_url: str, kafka_bootstrap_servers: str, topic_prefix: str
) -> None:
    """The other half: Kafka has what a killed one made, Postgres has nothing."""
    Admin(kafka_bootstrap_servers).ensure_topics({f"{topic_prefix}sagas": 2})
    migrate(database_url, shards=2, topic_prefix=topic_prefix, kafka_bootstrap_servers=kafka_bootstrap_servers)
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT topic, partitions, topic_id IS NOT NULL FROM amends.topics").fetchall()
    assert rows == [(f"{topic_prefix}sagas", 2, True)]
