"""The first row of a producer goes to a partition alone: what comes behind it waits for its ack."""

from outbox_relay.limits import OPENED_S
from outbox_relay.openings import Openings
from outbox_relay.rows import HEADER_COLUMNS, StoredRow


def stored(seq: int, partition: int = 1, topic: str = "t") -> StoredRow:
    return StoredRow(seq, b"id", topic, partition, "k", b"T", b"", 5, [None] * len(HEADER_COLUMNS))


def test_a_partition_is_open_from_its_first_ack_on() -> None:
    openings = Openings()
    openings.begin(stored(1))
    assert openings.is_under_way(stored(2))
    assert not openings.is_open(stored(2), "id", 0)
    assert not openings.is_under_way(stored(3, partition=2))
    assert not openings.is_under_way(stored(3, topic="u"))
    openings.acked([(stored(1), "id")], 10)
    assert openings.is_open(stored(2), "id", 10)
    assert not openings.is_under_way(stored(2))


def test_it_has_to_be_opened_again_in_a_new_topic_and_after_a_long_silence() -> None:
    openings = Openings()
    openings.acked([(stored(1), "id")], 10)
    assert not openings.is_open(stored(2), "another", 10)
    assert openings.is_open(stored(2), "id", 9.9 + OPENED_S)
    assert not openings.is_open(stored(2), "id", 10 + OPENED_S)


def test_a_late_ack_of_the_topic_that_is_gone_opens_nothing() -> None:
    openings = Openings()
    openings.begin(stored(2))
    openings.acked([(stored(1), "the one before")], 10)
    assert not openings.is_open(stored(3), "id", 10)
    assert openings.is_under_way(stored(3))


def test_a_row_that_never_arrives_leaves_it_to_the_next_and_no_other_does() -> None:
    openings = Openings()
    openings.begin(stored(1))
    openings.gave_up(stored(7))
    assert openings.is_under_way(stored(2))
    openings.gave_up(stored(1))
    assert not openings.is_under_way(stored(2))
    assert not openings.is_open(stored(2), "id", 0)


def test_a_new_producer_has_written_nowhere() -> None:
    openings = Openings()
    openings.acked([(stored(1), "id")], 10)
    openings.begin(stored(2, partition=2))
    openings.forget()
    assert not openings.is_open(stored(3), "id", 10)
    assert not openings.is_under_way(stored(3, partition=2))
