"""Servers that fail: these tests have servers of their own, which they freeze, restart and set up otherwise."""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from orchestrator.local.stack import BlockingStack, Stack
from outbox_relay import Row, outbox, slot
from tests.deadlines import deadline, eventually
from tests.integration.relay.outboxes import ROOT, Place, Writers, install, process, reading, relay, row, running, wait
from tests.integration.relay.test_slot import assert_said, trouble
from tests.integration.relay.test_switch import await_mode, switch
from tests.servers import create_database

pytestmark = [pytest.mark.serial, pytest.mark.slow]


@pytest.fixture
def own(own_stack: BlockingStack) -> Place:
    url = create_database(own_stack.stack.database_url)
    install(url)
    return Place(url, own_stack.stack.kafka_bootstrap_servers, "own.")


def set_up(place: Place, setting: str, value: str) -> None:
    with place.connect() as connection:
        connection.execute(f"ALTER SYSTEM SET {setting} = '{value}'")
        connection.execute("SELECT pg_reload_conf()")
        eventually(lambda: connection.execute(f"SHOW {setting}").fetchone()[0] == value, 10, setting)


@contextmanager
def invisible(place: Place, added: Row) -> Iterator[Callable[[], None]]:
    """Commit a row behind a synchronous replica that does not answer: it is in the WAL, and no SELECT shows it.

    The yielded function lets it become visible; so does the end.
    """
    writer, probe = psycopg.connect(place.url), psycopg.connect(place.url)
    outbox.add(writer, added)
    set_up(place, "synchronous_standby_names", "nobody")
    threads: list[threading.Thread] = []

    def commits_and_waits(connection: psycopg.Connection) -> bool:
        threads.append(threading.Thread(target=connection.commit))
        threads[-1].start()
        return eventually(lambda: commit_waits(place, connection) or not threads[-1].is_alive(), 10, "it waits")

    def probe_waits() -> bool:
        """The setting is shown before the checkpointer has told everybody of it."""
        probe.execute("SELECT pg_logical_emit_message(true, 'probe', '')")
        return commits_and_waits(probe) and threads[-1].is_alive()

    def show() -> None:
        set_up(place, "synchronous_standby_names", "")
        for thread in threads:
            thread.join()

    try:
        eventually(probe_waits, 20, "commits wait for the replica")
        assert commits_and_waits(writer)
        assert threads[-1].is_alive()
        yield show
    finally:
        show()
        writer.close()
        probe.close()


def confirmed(place: Place, lsn: str) -> bool:
    with place.connect() as connection:
        return connection.execute("SELECT %s::pg_lsn <= %s::pg_lsn", [lsn, place.slot()[2]]).fetchone()[0]


def committing(place: Place) -> bool:
    with place.connect() as connection:
        return (
            connection.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").fetchone()[0] > 0
        )


def commit_waits(place: Place, connection: psycopg.Connection) -> bool:
    with place.connect() as asking:
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND pid = %s"
        return asking.execute(waiting, [connection.info.backend_pid]).fetchone()[0] == 1


def test_kafka_frozen_for_a_while_costs_time_and_nothing_else(own: Place, own_stack: BlockingStack) -> None:
    topic = own.topic("numbers")
    writers = Writers(own, topic, 3)
    with reading(own, topic) as reader, running(relay(own)):
        own.await_state("streaming")
        with writers.running():
            wait(1)
            own_stack.server("kafka").signal(signal.SIGSTOP)
            eventually(lambda: own.count() > 100, 20, "rows wait")
            own.await_confirmed()  # the WAL is freed meanwhile
            wait(9)
            own.await_confirmed()  # and after the producer has been given up, too
            own_stack.server("kafka").signal(signal.SIGCONT)
            own.await_state("streaming", 40)
            reader.await_numbers(writers.finish(), 60)
            own.await_empty(60)


def test_switched_while_kafka_is_frozen(own: Place, own_stack: BlockingStack) -> None:
    """What the producer had is given up after a while, and read again in the other mode."""
    topic = own.topic("numbers")
    writers = Writers(own, topic, 3)
    with reading(own, topic) as reader, running(relay(own)):
        own.await_state("streaming")
        with writers.running():
            eventually(lambda: reader.read() > 50, 20, "rows pass")
            own_stack.server("kafka").signal(signal.SIGSTOP)
            eventually(lambda: own.lease()[3].get("in_flight", 0) > 0, 20, "some are on their way")
            for mode in ("polling", "cdc", "polling"):
                switch(own, mode)
                await_mode(own, mode, live=False)
            own_stack.server("kafka").signal(signal.SIGCONT)
            switch(own, "cdc")
            await_mode(own, "cdc")
            reader.await_numbers(writers.finish(), 60)
            own.await_empty(60)


def test_kafka_and_postgres_restarted_in_mid_run(own: Place, own_stack: BlockingStack) -> None:
    topic = own.topic("numbers")
    writers = Writers(own, topic, 3)
    with reading(own, topic) as reader, running(relay(own)):
        own.await_state("streaming")
        with writers.running():
            wait(1)
            own_stack.stop_server("kafka")
            wait(1)
            own_stack.start_server("kafka")
            wait(1)
            written = writers.finish()
        own_stack.stop_server("postgres")
        own_stack.start_server("postgres")
        own.add(row(topic, "after", b"0"))
        reader.await_numbers({**written, "after": 1}, 60)
        own.await_empty(60)
        own.await_state("streaming", 40)


def test_a_commit_that_nobody_sees_yet_is_not_confirmed_and_not_lost(own: Place) -> None:
    """The slot tells of a row that no SELECT shows [model, M3, hole 12]."""
    topic = own.topic("numbers")
    with reading(own, topic) as reader, process("cdc", "one", own) as one:
        own.await_state("streaming")
        with own.connect() as connection, invisible(own, row(topic, "k", b"0")) as show:
            (begun,) = connection.execute("SELECT pg_current_wal_lsn()").fetchone()
            reader.await_numbers({"k": 1})  # told by the slot, sent, acknowledged
            assert own.count() == 0  # and not visible
            wait(2)
            assert not confirmed(own, begun)
            one.kill()
            with process("cdc", "other", own):
                eventually(lambda: own.lease()[1] == "other", 10, "the other has the lease")
                wait(2)
                assert not confirmed(own, begun)  # the other, too, heard of it and did not see it
                assert committing(own)
                show()
                own.await_empty()
                own.await_state("streaming")
                own.add(row(topic, "k", b"1"))
                reader.await_numbers({"k": 2})


def test_a_row_sent_before_it_was_visible_is_deleted_when_it_is(own: Place) -> None:
    topic = own.topic("numbers")
    with reading(own, topic) as reader, running(relay(own)):
        own.await_state("streaming")
        with invisible(own, row(topic, "k", b"0")):
            reader.await_numbers({"k": 1})
            wait(2)
        own.await_empty()


def test_a_commit_that_nobody_sees_while_the_slot_is_born_is_sent_and_deleted(own: Place) -> None:
    topic = own.topic("numbers")
    with reading(own, topic) as reader, invisible(own, row(topic, "k", b"0")) as show, running(relay(own)):
        own.await_state("polling")
        wait(2)
        assert own.state() == "polling"
        show()
        reader.await_numbers({"k": 1})
        own.await_empty()
        own.await_state("streaming")


def lose_the_slot(place: Place) -> None:
    """It keeps more WAL than it may."""
    with running(relay(place)):
        place.await_state("streaming")
    set_up(place, "max_slot_wal_keep_size", "1MB")
    with place.connect() as connection:
        connection.execute("CREATE TABLE noise (x text)")
        for _ in range(6):
            connection.execute("INSERT INTO noise SELECT repeat(md5(n::text), 100) FROM generate_series(1, 5000) n")
            connection.execute("SELECT pg_switch_wal()")
        connection.execute("CHECKPOINT")
        eventually(lambda: slot_is_lost(place), 30, "the slot is invalidated")


def slot_is_lost(place: Place) -> bool:
    with place.connect() as connection:
        return slot.status(connection, slot.name_of(connection)).lost


def test_an_invalidated_slot_is_said_and_healed(own: Place, caplog: pytest.LogCaptureFixture) -> None:
    topic = own.topic("numbers")
    lose_the_slot(own)
    own.add(row(topic, "k", b"0"))
    with reading(own, topic) as reader, running(relay(own)):
        own.await_state("streaming", 40)
        own.add(row(topic, "k", b"1"))
        reader.await_numbers({"k": 2})
        own.await_empty()
        assert not slot_is_lost(own)
    assert "max_slot_wal_keep_size" in trouble(own)
    assert_said(caplog, "was invalidated")


@pytest.mark.parametrize(
    "failpoint",
    ["relay.slot_drop.before", "relay.slot_drop.after", "relay.slot_trouble.before", "relay.slot_trouble.after"],
)
def test_killed_while_it_makes_a_lost_slot_again(own: Place, failpoint: str) -> None:
    topic = own.topic("numbers")
    lose_the_slot(own)
    own.add(row(topic, "k", b"0"))
    with reading(own, topic) as reader:
        with process("cdc", "doomed", own, failpoints=f"{failpoint}=kill") as doomed:
            doomed.await_death()
        with running(relay(own)):
            own.await_state("streaming", 40)
            own.add(row(topic, "k", b"1"))
            reader.await_numbers({"k": 2})
            own.await_empty()
            assert not slot_is_lost(own)


@contextmanager
def postgres_without_logical_wal(data: Path) -> Iterator[str]:
    """A Postgres of this test's own, as most are set up; yields the URL of its administrator."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = [sys.executable, "-m", "orchestrator.local.postgres", "--data", str(data), "--port", str(port)]
    server = subprocess.Popen([*program, "--fsync", "off", "--", "-c", "wal_level=replica"], cwd=ROOT)
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"

    def answers() -> bool:
        with suppress(psycopg.OperationalError), psycopg.connect(url, connect_timeout=2):
            return True
        return False

    try:
        eventually(answers, 60, "Postgres answers")
        yield url
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()


def test_without_logical_wal_it_polls_and_says_so(
    stack: Stack, topic_prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with postgres_without_logical_wal(tmp_path / "data") as url:
        install(url)
        own = Place(url, stack.kafka_bootstrap_servers, topic_prefix)
        topic = own.topic("numbers")
        with reading(own, topic) as reader, running(relay(own)):
            own.await_state("polling")
            own.add(row(topic, "k", b"0"))
            reader.await_numbers({"k": 1})
            own.await_empty()
    assert "Set `wal_level = logical` in postgresql.conf" in caplog.text


def test_a_topic_that_is_made_again_gets_what_only_the_outbox_knew(own: Place) -> None:
    topic = own.topic("events")
    with running(relay(own)):
        own.await_state("streaming")
        own.add(*(row(topic, "k", b"%d" % n, kind="event") for n in range(5)), row(topic, "k", b"99", kind="command"))
        own.await_empty()
        eventually(lambda: own.count("outbox_sent") == 5, 10, "the events are kept")
        own.delete_topic(topic)
        eventually(lambda: own.lease()[3].get("topics_missing") == [topic], 20, "the topic is missed")
        own.topic("events")
        with reading(own, topic) as reader:
            reader.await_numbers({"k": 5}, 40)
        own.await_empty()
        with own.connect() as connection:
            ids = connection.execute("SELECT DISTINCT topic_id FROM amends.outbox_sent").fetchall()
            assert ids == connection.execute("SELECT topic_id FROM amends.topics").fetchall()


def test_rows_flow_within_seconds_of_a_first_start_without_kafka(own: Place, own_stack: BlockingStack) -> None:
    topic = own.topic("numbers")
    own_stack.stop_server("kafka")
    with running(relay(own)):
        own.await_state("streaming", 30)
        with own.connect() as connection:
            outbox.add(connection, Row(topic=topic, key="k", type="T", payload=b"0"))
        wait(5)
        own_stack.start_server("kafka")
        began = time.monotonic()
        with reading(own, topic) as reader:
            reader.await_numbers({"k": 1}, 30)
        own.await_empty()
        assert time.monotonic() - began < deadline(20)
