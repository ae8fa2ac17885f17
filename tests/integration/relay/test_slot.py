"""The slot is only a doorbell: dropped, cut or slow to be born, nothing is missed and nothing waits for it."""

import logging
from collections.abc import Callable

import psycopg
import pytest

from outbox_relay import slot
from tests.deadlines import eventually
from tests.integration.relay.outboxes import Place, Writers, reading, relay, row, running, wait


def drop_by_force(place: Place) -> None:
    with place.connect() as connection:
        name = slot.name_of(connection)
        connection.execute(slot.END_READER, [name])
        eventually(lambda: slot.drop(connection, name), 10, "the slot is dropped")


def trouble(place: Place) -> str:
    """What the database remembers of a loss."""
    with place.connect() as connection:
        return slot.noted(connection).lost or ""


def assert_said(caplog: pytest.LogCaptureFixture, what: str) -> None:
    assert [record for record in caplog.records if record.levelno >= logging.ERROR and what in record.getMessage()]


def test_a_slot_that_is_dropped_under_the_relay_is_made_again(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    topic = place.topic("numbers")
    writers = Writers(place, topic, 3)
    with reading(place, topic) as reader, running(relay(place)):
        place.await_state("streaming")
        with writers.running():
            wait(1)
            drop_by_force(place)
            eventually(lambda: "somebody dropped it" in trouble(place), 20, "it is noted")
            eventually(lambda: (place.slot() or (None, None))[1], 30, "there is a new slot, and it is read")
            place.await_state("streaming")
            wait(1)
            reader.await_numbers(writers.finish())
            place.await_empty()
            assert reader.doubles == 0
        assert "somebody dropped it" in place.lease()[3]["slot_lost"]
    assert_said(caplog, "somebody dropped it")


def test_a_slot_that_is_dropped_between_two_relays_loses_nothing(place: Place) -> None:
    topic = place.topic("numbers")
    with running(relay(place)):
        place.await_state("streaming")
    place.add(row(topic, "k", b"0"))
    with place.connect() as connection:
        assert slot.drop(connection)
    place.add(row(topic, "k", b"1"))
    with reading(place, topic) as reader, running(relay(place)):
        place.await_state("streaming")
        place.add(row(topic, "k", b"2"))
        reader.await_numbers({"k": 3})
        place.await_empty()
        assert reader.doubles == 0
    assert "somebody dropped it" in trouble(place)


def test_a_slot_that_was_never_lost_is_no_trouble(place: Place) -> None:
    for _ in range(2):
        with running(relay(place)):
            place.await_state("streaming")
    assert trouble(place) == ""


def test_rows_are_polled_while_an_open_transaction_holds_up_the_birth_of_the_slot(place: Place) -> None:
    topic = place.topic("numbers")
    with psycopg.connect(place.url) as open_one, reading(place, topic) as reader:
        open_one.execute("SELECT pg_current_xact_id()")
        with running(relay(place)):
            place.await_state("polling")
            place.add(row(topic, "k", b"0"))
            reader.await_numbers({"k": 1})
            eventually(lambda: "waits" in (place.lease()[3].get("slot") or ""), 10, "it says what it waits for")
            open_one.commit()
            place.await_state("streaming")
            place.add(row(topic, "k", b"1"))
            reader.await_numbers({"k": 2})
            place.await_empty()
            assert reader.doubles == 0


def test_a_stream_that_is_cut_goes_on_without_a_double(place: Place) -> None:
    topic = place.topic("numbers")
    writers = Writers(place, topic, 3)
    with reading(place, topic) as reader, running(relay(place)):
        place.await_state("streaming")
        with writers.running(), place.connect() as connection:
            for _ in range(3):
                wait(0.7)
                connection.execute(slot.END_READER, [slot.name_of(connection)])
            place.await_state("streaming", 30)
            reader.await_numbers(writers.finish())
            place.await_empty()
            assert reader.doubles == 0


def test_every_session_of_the_relay_may_be_cut(place: Place) -> None:
    topic = place.topic("numbers")
    writers = Writers(place, topic, 3)
    with reading(place, topic) as reader, running(relay(place)):
        place.await_state("streaming")
        with writers.running(), place.connect() as connection:
            for _ in range(3):
                wait(0.7)
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name LIKE 'amends relay:%' AND datname = current_database()"
                )
            reader.await_numbers(writers.finish())
            place.await_empty()


def test_the_wal_that_the_slot_keeps_stays_small_while_rows_pass(place: Place) -> None:
    topic = place.topic("numbers")
    with running(relay(place)):
        place.await_state("streaming")
        with place.connect() as connection:
            connection.execute("CREATE TABLE noise (x text)")
            place.add(*(row(topic, f"k{n}", b"0") for n in range(200)))
            connection.execute("INSERT INTO noise SELECT repeat(md5(n::text), 100) FROM generate_series(1, 5000) n")
            place.await_empty()
            place.await_confirmed()


def test_an_idle_outbox_keeps_no_wal_of_its_busy_neighbours(place: Place, make_place: Callable[[], Place]) -> None:
    with running(relay(place)):
        place.await_state("streaming")
        with make_place().connect() as neighbour:
            neighbour.execute("CREATE TABLE t AS SELECT repeat('x', 500) FROM generate_series(1, 2000)")
        place.await_confirmed()
