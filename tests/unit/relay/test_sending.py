"""What is in the relay's hands, who may send, and what is said of a row: without servers."""

import random

import pytest
from confluent_kafka import KafkaError

from outbox_relay import Row, table
from outbox_relay.dead import Parked
from outbox_relay.errors import RowRefused, RowTooLarge
from outbox_relay.held import Held
from outbox_relay.lease import Watch
from outbox_relay.limits import HELD_BYTES_MAX, HELD_ROWS_MAX, LEASE_S, PROMPT_ANSWER_S, ROW_BYTES_MAX
from outbox_relay.publisher import KafkaPublisher, QueueFull, Refused
from outbox_relay.rows import HEADER_COLUMNS, StoredRow, kafka_headers, murmur2


def stored(seq: int, payload: bytes = b"xy") -> StoredRow:
    return StoredRow(seq, b"id", "t", 1, "k", b"T", payload, 5, [None] * len(HEADER_COLUMNS))


@pytest.mark.parametrize(
    ("key", "hashed"),
    [  # Kafka's own test values, org.apache.kafka.common.utils.UtilsTest
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    ],
)
def test_murmur2_is_kafkas(key: bytes, hashed: int) -> None:
    assert murmur2(key) == hashed & 0x7FFFFFFF


def test_held_counts_what_it_holds_whatever_happens() -> None:
    dice = random.Random(3)
    held, left = Held(), set[int]()
    for seq in range(3_000):
        assert held.take(stored(seq), 0)
        assert not held.take(stored(seq), 0)
        match dice.randrange(5):
            case 0 | 1 if held.waiting:
                held.send_next(float(seq), None)
            case 2 if held.sent:
                one = dice.choice(list(held.sent))
                assert held.leave(one) is not None
                assert held.leave(one) is None
                left.add(one)
            case 3 if held.waiting and dice.random() < 0.2:
                left.add(held.leave_next().row.seq)
            case 4 if dice.random() < 0.02:
                held.forget()
        assert held.known == {item.row.seq for item in held.waiting} | set(held.sent) | left
        if dice.random() < 0.1:
            held.gone(left)
            left.clear()
    held.forget()
    held.gone(left)
    assert held.known == set()
    assert held.room == HELD_ROWS_MAX


def test_held_is_full_by_bytes_too_and_knows_its_oldest() -> None:
    held = Held()
    assert held.oldest_sent_at() is None
    held.take(stored(1, b"x" * HELD_BYTES_MAX), 0)
    assert held.room == 0
    held.take(stored(2), 0)
    held.send_next(10.0, "id")
    held.send_next(11.0, "id")
    assert held.oldest_sent_at() == 10.0
    held.leave(1)
    assert held.oldest_sent_at() == 11.0
    assert held.room == HELD_ROWS_MAX - 2


def watched(*looks: tuple[float, float, int]) -> list[bool]:
    """Looks as (asked, answered, beat)."""
    watch = Watch()
    return [watch.expired((1, beat), asked, answered) for asked, answered, beat in looks]


def every(step_s: float, end_s: float, beat: int = 1, start_s: float = 0.0) -> list[tuple[float, float, int]]:
    return [
        (start_s + n * step_s, start_s + n * step_s + 0.01, beat) for n in range(int((end_s - start_s) / step_s) + 1)
    ]


def test_a_beat_that_stands_still_for_the_lease_expires() -> None:
    looks = every(0.25, LEASE_S + 0.5)
    assert watched(*looks).index(True) == len([asked for asked, _, _ in looks if asked < LEASE_S + 0.01])


def test_a_beat_that_moves_does_not() -> None:
    assert not any(watched(*((n * 0.25, n * 0.25, n // 8) for n in range(200))))


def test_a_database_that_was_away_expires_nobody() -> None:
    before, after = every(0.25, LEASE_S - 1), every(0.25, LEASE_S * 2 - 0.5, start_s=LEASE_S + PROMPT_ANSWER_S)
    assert not any(watched(*before, *after))


def test_slow_answers_expire_nobody() -> None:
    assert not any(watched(*((n * 2.0, n * 2.0 + PROMPT_ANSWER_S + 0.1, 1) for n in range(20))))


def test_what_waits_behind_a_dead_row() -> None:
    parked = Parked()
    assert not parked.holds("t", "k")
    parked.keys.add(("t", "k"))
    parked.topics.add("u")
    assert [parked.holds(*it) for it in (("t", "k"), ("t", "l"), ("u", "any"))] == [True, False, True]


def test_headers_are_text_and_null_has_none() -> None:
    nulls = [None] * (len(HEADER_COLUMNS) - 2)
    row = table.stored([7, "an-id", "t", 0, "k", "T", None, 1_000, "command", "é", *nulls, 1])
    assert row == StoredRow(7, b"an-id", "t", 0, "k", b"T", None, 1_000, [b"command", "é".encode(), *nulls])
    assert kafka_headers(row.seq, row.id, row.type, row.columns) == [
        ("id", b"an-id"),
        ("type", b"T"),
        ("seq", b"7"),
        ("kind", b"command"),
        ("saga_id", "é".encode()),
    ]


def test_the_producer_says_at_once_what_it_never_takes_and_when_it_is_full() -> None:
    config = {"queue.buffering.max.messages": "2", "message.max.bytes": "2000"}
    publisher = KafkaPublisher("127.0.0.1:1", "test", config)
    with pytest.raises(Refused) as refused:
        publisher.send(stored(1, b"x" * 3_000))
    assert refused.value.verdict == "key"
    publisher.send(stored(2))
    publisher.send(stored(3))
    with pytest.raises(QueueFull):
        publisher.send(stored(4))
    assert publisher.restart() == []
    publisher.send(stored(4))
    assert publisher.hear().failed == []  # what was purged is not told: it was given up
    publisher.close()


def test_every_code_that_parks_is_one_that_librdkafka_has() -> None:
    assert {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError._UNKNOWN_TOPIC} < set(publisher_codes())


def publisher_codes() -> list[int]:
    from outbox_relay import publisher

    return list(publisher._NEVER)


def row(**changed: object) -> Row:
    return Row(**{"topic": "t", "key": "k", "type": "T", "payload": b""} | changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (row(topic="t" * 250), "topic has 250 characters"),
        (row(type="T" * 256), "type has 256 characters"),
        (row(key="\0"), "NUL"),
        (row(headers={"nonce": "x" * 5_000}), "nonce has 5,000 characters"),
        (row(headers={"colour": "red"}), "no column for header 'colour'"),
        (row(partition=4), "partition 4 of 4"),
        (row(partition=-1), "partition -1 of 4"),
        (row(headers={"attempt": "two"}), "not a decimal number"),
    ],
)
def test_a_row_that_could_not_be_delivered_is_refused(bad: Row, said: str) -> None:
    with pytest.raises(RowRefused, match=said):
        table.insert_params([row(), bad], lambda _: 4)


def test_a_row_may_have_so_many_bytes_and_no_more() -> None:
    table.check(row(payload=b"x" * (ROW_BYTES_MAX - 1)))
    with pytest.raises(RowTooLarge):
        table.check(row(payload=b"x" * ROW_BYTES_MAX))


def test_the_parameters_are_columns_in_the_order_of_the_rows() -> None:
    rows = [row(key="a", headers={"kind": "command", "attempt": "2"}), row(key="b", partition=3, id="some-uuid")]
    ids, topics, keys, _types, _payloads, partitions, *headers_ = table.insert_params(rows, lambda _: 4)
    assert (ids, topics, keys) == ([None, "some-uuid"], ["t", "t"], ["a", "b"])
    assert partitions == [murmur2(b"a") % 4, 3]
    assert headers_[HEADER_COLUMNS.index("kind")] == ["command", None]
    assert headers_[HEADER_COLUMNS.index("attempt")] == [2, None]
