"""A broker that is away is worth a line now and then, not twenty a second."""

import logging

from outbox_relay.kafka_log import KNOWN_MAX, REPEAT_S, Sparing, sparing_logger


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def said(client: str, ms: int) -> logging.LogRecord:
    """As the client calls its logger."""
    text = f"[thrd:b:1/1]: b:1/1: Connect to ipv4#b:1 failed: Connection refused (after {ms}ms in state CONNECT)"
    return logging.LogRecord("kafka", logging.ERROR, "", 0, "%s [%s] %s", ("FAIL", client, text), None)


def test_the_same_text_passes_once_in_a_while_and_says_how_often_it_was_held_back() -> None:
    clock = Clock()
    sparing = Sparing(clock)
    assert sparing.filter(said("a", 0))
    assert [sparing.filter(said("a", ms)) for ms in (1, 0, 12)] == [False] * 3
    clock.now_s += REPEAT_S
    record = said("a", 3)
    assert sparing.filter(record)
    assert record.getMessage().endswith("(after 3ms in state CONNECT) (and 3 times in the last 30 s)")
    assert not sparing.filter(said("a", 0))


def test_another_clients_text_passes() -> None:
    sparing = Sparing(Clock())
    assert sparing.filter(said("a", 0))
    assert sparing.filter(said("b", 0))


def test_what_is_remembered_is_bounded() -> None:
    sparing = Sparing(Clock())
    assert all(sparing.filter(said(f"client-{n}", 0)) for n in range(KNOWN_MAX * 3))
    assert len(sparing._heard) <= KNOWN_MAX


def test_a_logger_gets_one_filter_however_often_it_is_asked_for() -> None:
    assert sparing_logger("tests.kafka") is sparing_logger("tests.kafka")
    assert len([known for known in sparing_logger("tests.kafka").filters if isinstance(known, Sparing)]) == 1
