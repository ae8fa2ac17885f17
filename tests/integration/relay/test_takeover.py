"""A relay is killed, or stopped and woken up: nothing is lost, and each key's first publications stay in order."""

import signal
import time

import pytest

from outbox_relay.limits import BEAT_S, LEASE_S, STANDBY_LOOK_S
from tests.deadlines import deadline, eventually
from tests.integration.relay.outboxes import Place, Writers, process, reading, row, wait

STATE = {"cdc": "streaming", "polling": "polling"}
TAKEOVER_S = 5.0
"""Promised: from SIGKILL or SIGSTOP of a relay to its standby at work."""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["SIGKILL", "SIGSTOP"])
@pytest.mark.parametrize("mode", ["cdc", "polling"])
def test_a_standby_is_at_work_within_five_seconds(place: Place, mode: str, how: signal.Signals) -> None:
    """At work: a row added after the death is in Kafka. After a kill in half the time: no lease is sat out."""
    topic = place.topic("numbers")
    with reading(place, topic) as reader, process(mode, "one", place) as one:
        place.await_state(STATE[mode])
        with process(mode, "other", place):
            await_standby(place)
            place.add(row(topic, "k", b"0"))
            reader.await_numbers({"k": 1})
            place.await_empty()
            dead = time.monotonic()
            one.signal(how)
            place.add(row(topic, "after", b"0"))
            if how == signal.SIGSTOP:  # a stopped one may have had the row in the pipe; another one certainly not
                eventually(lambda: place.lease()[1] == "other", TAKEOVER_S, "the standby has the lease")
                place.add(row(topic, "later", b"0"))
                reader.await_numbers({"k": 1, "after": 1, "later": 1})
            else:
                reader.await_numbers({"k": 1, "after": 1})
            took_s = time.monotonic() - dead
            assert took_s < deadline(TAKEOVER_S if how == signal.SIGSTOP else TAKEOVER_S / 2)
            assert how == signal.SIGKILL or took_s > LEASE_S - BEAT_S - STANDBY_LOOK_S


def await_standby(place: Place) -> None:
    """Two relays have a session at the lease: one holds it, and the other has begun to wait."""
    with place.connect() as connection:
        asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name = 'amends relay: lease'"
        name = connection.info.dbname
        eventually(lambda: connection.execute(asked, [name]).fetchone() == (2,), 20, "a standby waits")


@pytest.mark.parametrize("mode", ["cdc", pytest.param("polling", marks=pytest.mark.slow)])
def test_kill_9_in_mid_run_loses_nothing(place: Place, mode: str) -> None:
    topic = place.topic("numbers")
    writers = Writers(place, topic, 3)
    with reading(place, topic) as reader, writers.running():
        for n in range(4):
            with process(mode, f"r{n}", place) as relay:
                eventually(lambda n=n: place.lease()[1] == f"r{n}", 20, "the new relay has the lease")
                if n % 2:  # once while it still reads the table, once when it follows the stream
                    place.await_state(STATE[mode])
                wait(0.5)
                relay.kill()
        with process(mode, "last", place) as relay:
            written = writers.finish()
            reader.await_numbers(written)
            place.await_empty()
            relay.stop()
    epoch, holder, state, _ = place.lease()
    assert (epoch, holder, state) == (5, None, "stopped")


def test_a_standby_takes_over_at_once_when_the_other_is_killed(place: Place) -> None:
    topic = place.topic("numbers")
    writers = Writers(place, topic, 2)
    with reading(place, topic) as reader, process("cdc", "one", place) as one:
        place.await_state("streaming")
        with process("cdc", "other", place), writers.running():
            await_standby(place)
            wait(0.5)
            killed = time.monotonic()
            one.kill()
            eventually(lambda: place.lease()[1] == "other", 10, "the standby has the lease")
            assert time.monotonic() - killed < deadline(1.5)
            place.await_state("streaming")
            wait(0.5)
            reader.await_numbers(writers.finish())
            place.await_empty()


def test_a_stopped_relay_is_deposed_and_does_no_harm_when_it_wakes_up(place: Place) -> None:
    topic = place.topic("numbers")
    writers = Writers(place, topic, 2)
    with reading(place, topic) as reader, process("cdc", "sleeper", place) as sleeper:
        place.await_state("streaming")
        with process("cdc", "other", place), writers.running():
            await_standby(place)
            wait(0.5)
            stopped = time.monotonic()
            sleeper.signal(signal.SIGSTOP)
            eventually(lambda: place.lease()[1] == "other", LEASE_S * 3, "the standby has the lease")
            assert time.monotonic() - stopped < deadline(TAKEOVER_S)
            place.await_state("streaming")
            sleeper.signal(signal.SIGCONT)
            wait(2)
            reader.await_numbers(writers.finish())
            place.await_empty()
            assert sleeper.alive()
            assert place.lease()[1] == "other"


def test_a_planned_stop_hands_over_without_a_double(place: Place) -> None:
    topic = place.topic("numbers")
    writers = Writers(place, topic, 2)
    with reading(place, topic) as reader, process("cdc", "one", place) as one:
        place.await_state("streaming")
        with process("cdc", "other", place), writers.running():
            wait(1)
            one.stop()
            eventually(lambda: place.lease()[1] == "other", 5, "the standby has the lease")
            place.await_state("streaming")
            wait(0.5)
            reader.await_numbers(writers.finish())
            place.await_empty()
            assert reader.doubles == 0
