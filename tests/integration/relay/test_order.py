"""Concurrent writers, transactions that overtake each other, roll-backs: each key's rows come once, in their order."""

import pytest

from tests.integration.relay.outboxes import Place, Writers, reading, relay, running, wait

STATE = {"cdc": "streaming", "polling": "polling"}


@pytest.mark.parametrize("mode", ["cdc", "polling"])
def test_each_key_keeps_its_order_and_nothing_comes_twice(place: Place, mode: str) -> None:
    topic = place.topic("numbers")
    writers = Writers(place, topic, 4)
    with reading(place, topic) as reader, running(relay(place, mode)):
        place.await_state(STATE[mode])
        with writers.running():
            wait(4)
        written = writers.finish()
        reader.await_numbers(written)
        place.await_empty()
        assert reader.doubles == 0
        assert sum(written.values()) > 500


def test_the_slot_is_born_under_writers_and_nothing_is_missed_or_told_twice(place: Place) -> None:
    topic = place.topic("numbers")
    writers = Writers(place, topic, 4)
    with reading(place, topic) as reader, writers.running():
        wait(1)
        with running(relay(place)):
            place.await_state("streaming")
            wait(2)
            reader.await_numbers(writers.finish())
            place.await_empty()
            assert reader.doubles == 0


def test_a_backlog_is_drained_before_the_stream_goes_on(place: Place) -> None:
    topic = place.topic("numbers")
    with running(relay(place)):
        place.await_state("streaming")
    writers = Writers(place, topic, 4)
    with writers.running():  # The slot exists and is behind: what it will tell has been read from the table by then.
        wait(3)
        with reading(place, topic) as reader, running(relay(place)):
            place.await_state("streaming")
            wait(2)
            reader.await_numbers(writers.finish())
            place.await_empty()
            assert reader.doubles == 0
