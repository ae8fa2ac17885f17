"""12, STUCK and order: the slot tells of a row before a SELECT can see it (a slow synchronous replica: seconds).

A relay confirmed it and died; the next one drained too early, and the slot did not repeat itself.

An LSN is confirmed, and the stream takes over from the table, only when all that the slot has told is visible.
"""

import threading

import psycopg
import pytest

from outbox_relay import Row, table
from tests import servers
from tests.deadlines import deadline, eventually
from tests.integration.relay.outboxes import PARTITIONS, Place, install, process, reading, row

pytestmark = pytest.mark.serial


@pytest.fixture
def place(own_stack) -> Place:
    """A Postgres of its own: who waits for a synchronous replica is a setting of all its databases."""
    admin_url = own_stack.stack.database_url
    url = servers.with_database(admin_url, "story")
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE story")
        connection.execute(
            "ALTER DATABASE story SET synchronous_commit = local"
        )  # the relay's own sessions wait for nobody
    install(url)
    return Place(url, own_stack.stack.kafka_bootstrap_servers, "story.")


def replica(place: Place, name: str) -> None:
    """The replica that commits wait for; none by this name is there."""
    with place.connect() as connection:
        connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
        connection.execute("SELECT pg_reload_conf()")
    eventually(lambda: shown(place) == name, 20, "the setting is in force")


def shown(place: Place) -> str:
    with place.connect() as connection:
        return connection.execute("SHOW synchronous_standby_names").fetchone()[0]


def add_and_wait_for_the_replica(place: Place, added: Row) -> threading.Thread:
    """The row's commit is in the WAL, and its session waits: the slot tells of it, no SELECT shows it."""

    def write() -> None:
        with psycopg.connect(place.url, options="-c synchronous_commit=on") as connection:
            connection.execute(table.INSERT_MANY, table.insert_params([added], lambda _: PARTITIONS))

    writer = threading.Thread(target=write)
    writer.start()
    eventually(lambda: waiting(place), 20, "a commit that waits for the replica")
    return writer


def waiting(place: Place) -> bool:
    with place.connect() as connection:
        [count] = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").fetchone()
    return count == 1


def test_a_row_that_the_slot_told_too_early_is_neither_lost_nor_overtaken(place: Place) -> None:
    topic = place.topic("numbers")
    with reading(place, topic) as reader:
        with process("cdc", "first", place) as first:
            place.await_state("streaming")
            replica(place, "nobody")
            writer = add_and_wait_for_the_replica(place, row(topic, "k", b"0"))
            eventually(lambda: reader.read() == 1, 20, "the row is sent, though nobody can see it yet")
            assert place.count() == 0
            first.kill()
        with process("cdc", "second", place):
            eventually(lambda: place.lease()[1] == "second", 30, "the second relay has the lease")
            # Mostly it polls, for the slot has told the row again; if its first look was earlier, the stream tells it.
            eventually(lambda: place.state() in ("polling", "streaming"), 30, "the second relay reads")
            slot = place.slot()
            replica(place, "")
            writer.join(deadline(20))
            place.add(row(topic, "k", b"1"))
            place.await_empty()
            place.await_state("streaming")
            reader.await_numbers({"k": 2})
            assert slot is not None
