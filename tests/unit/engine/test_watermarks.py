"""A timer enters only after its shard was read up to an end that was observed after it fell due (rule 9)."""

from orchestrator.engine.watermarks import Watermarks


def test_a_timer_waits_for_what_already_lies_in_the_topic() -> None:
    marks = Watermarks()
    assert not marks.lets_in(0, due_us=100)
    marks.observed(0, end_offset=7, at_us=150)
    marks.reached(0, next_offset=6)
    assert not marks.lets_in(0, due_us=100)
    marks.reached(0, next_offset=7)
    assert marks.lets_in(0, due_us=100)


def test_an_end_observed_before_the_timer_fell_due_says_nothing() -> None:
    marks = Watermarks()
    marks.observed(0, end_offset=0, at_us=99)
    marks.reached(0, next_offset=0)
    assert not marks.lets_in(0, due_us=100)


def test_a_growing_topic_starves_no_timer() -> None:
    marks = Watermarks()
    marks.observed(0, end_offset=10, at_us=150)
    for read in range(5, 15):
        marks.observed(0, end_offset=read + 100, at_us=150 + read)
        marks.reached(0, next_offset=read)
    assert marks.lets_in(0, due_us=100)


def test_a_shard_claimed_anew_must_be_looked_at_again() -> None:
    marks = Watermarks()
    marks.observed(0, end_offset=0, at_us=150)
    marks.reached(0, next_offset=0)
    marks.forget(0)
    assert not marks.lets_in(0, due_us=100)


def test_kafka_is_asked_at_most_every_20_ms_a_shard() -> None:
    marks = Watermarks()
    assert marks.to_ask({0, 1}, now_us=1_000_000) == [0, 1]
    assert marks.to_ask({0, 1}, now_us=1_010_000) == []
    assert marks.to_ask({0}, now_us=1_020_000) == [0]


def test_a_held_shard_is_asked_about_every_second_though_no_timer_waits() -> None:
    """Its topic may have been made again under us."""
    marks = Watermarks()
    assert marks.to_ask(set(), now_us=1_000_000, held={0, 1}) == [0, 1]
    assert marks.to_ask({1}, now_us=1_020_000, held={0, 1}) == [1]
    assert marks.to_ask(set(), now_us=2_000_000, held={0, 1}) == [0]
