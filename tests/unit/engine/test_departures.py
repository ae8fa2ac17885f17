"""When a command had left the outbox, told from the oldest row alone (rules 2 and 9)."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.departures import LOOK_EVERY_US, PROMPT_US, Departures

SECOND = 1_000_000


def test_after_an_outage_a_command_left_when_that_was_seen() -> None:
    departures = Departures()
    departures.looked(None, 10 * SECOND)
    for now_s in range(11, 20):
        departures.looked(int(10.2 * SECOND), now_s * SECOND)
    departures.looked(None, 20 * SECOND)
    assert departures.left_us(int(10.2 * SECOND)) == 20 * SECOND
    assert departures.left_us(int(15 * SECOND)) == 20 * SECOND
    assert departures.left_us(20 * SECOND) is None


def test_with_a_prompt_relay_a_command_left_when_it_was_written() -> None:
    departures = Departures()
    for now_us in range(10 * SECOND, 12 * SECOND, LOOK_EVERY_US):
        departures.looked(now_us - 20_000, now_us)
    assert departures.left_us(11 * SECOND) == 11 * SECOND


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 40)), min_size=1, max_size=25), st.integers(0, 400))
def test_nothing_is_said_to_have_left_before_it_had(looks: list[tuple[int, int]], written: int) -> None:
    """Against rows that leave in the order in which they were written."""
    departures, tick_us, now, oldest, seen_gone = Departures(), SECOND // 10, 0, 0, None
    for pause, leave in looks:
        now += pause
        oldest = min(oldest + leave, now)
        departures.looked(oldest * tick_us, now * tick_us)
        if seen_gone is None and oldest > written:
            seen_gone = now
    left_us = departures.left_us(written * tick_us)
    if seen_gone is None:
        assert left_us is None
    else:
        assert left_us is not None
        assert seen_gone * tick_us - PROMPT_US - max(pause for pause, _ in looks) * tick_us <= left_us
        assert left_us <= seen_gone * tick_us
