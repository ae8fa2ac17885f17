"""A row that Kafka will never take goes to outbox_dead and parks its key, or its topic, and nothing else."""

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions

from outbox_relay import Row, dead, table
from tests.deadlines import deadline, eventually
from tests.integration.relay.outboxes import PARTITIONS, Place, reading, relay, row, running

STATE = {"cdc": "streaming", "polling": "polling"}


def dead_rows(place: Place) -> list[tuple[str, bytes, str]]:
    with place.connect() as connection:
        return connection.execute(
            "SELECT aggregateid, left(convert_from(payload, 'UTF8'), 20), scope FROM amends.outbox_dead ORDER BY seq"
        ).fetchall()


@pytest.mark.parametrize("mode", ["cdc", "polling"])
def test_one_that_is_too_large_parks_its_key_only_and_is_redriven_in_order(place: Place, mode: str) -> None:
    topic = place.topic("small", **{"max.message.bytes": "20000"})
    with reading(place, topic) as reader, running(relay(place, mode)):
        place.await_state(STATE[mode])
        place.add(
            row(topic, "bad", b"0"),
            row(topic, "bad", b"x" * 30_000),
            *(row(topic, f"good-{n}", b"0") for n in range(20)),
            row(topic, "bad", b"1"),
            *(row(topic, f"good-{n}", b"1") for n in range(20)),
        )
        reader.await_numbers({"bad": 1, **{f"good-{n}": 2 for n in range(20)}})
        eventually(lambda: len(dead_rows(place)) == 2, 10, "the bad row and the one behind it are dead")
        place.add(row(topic, "bad", b"2"), row(topic, "good-0", b"2"))
        place.await_empty()
        assert dead_rows(place) == [("bad", "x" * 20, "key"), ("bad", "1", "behind"), ("bad", "2", "behind")]
        with place.connect() as connection:
            listed = dead.rows(connection)
            assert "large" in listed[0].error
            assert dead.discard(connection, listed[0].seq)
            assert dead.ask_redrive(connection, topic, "bad") == 2
        eventually(lambda: dead_rows(place) == [], 10, "redriven")
        place.add(row(topic, "bad", b"3"))
        reader.await_numbers({"bad": 4, "good-0": 3, **{f"good-{n}": 2 for n in range(1, 20)}})
        place.await_empty()


@pytest.mark.parametrize("mode", ["cdc", "polling"])
def test_nothing_passes_a_refused_row_where_the_producer_is_new(place: Place, mode: str) -> None:
    """The broker took what was on its way behind it: of a producer that it meets first it takes any sequence number."""
    topic = place.topic("small", **{"max.message.bytes": "20000"})
    place.add(row(topic, "bad", b"x" * 30_000), *(row(topic, "bad", b"%d" % n) for n in range(20)))
    a_request_each = {"batch.num.messages": "1"}
    with reading(place, topic) as reader, running(relay(place, mode, kafka_config=a_request_each)):
        place.await_empty()
        place.add(*(row(topic, f"good-{n}", b"0") for n in range(20)))
        reader.await_numbers({f"good-{n}": 1 for n in range(20)})
    behind = [("bad", str(n), "behind") for n in range(20)]
    assert dead_rows(place) == [("bad", "x" * 20, "key"), *behind]


def test_a_partition_that_is_not_there_parks_its_key(place: Place) -> None:
    topic = place.topic("numbers")
    with reading(place, topic) as reader, running(relay(place)):
        place.await_state("streaming")
        with place.connect() as connection:
            bad = Row(topic=topic, key="bad", type="T", payload=b"0", partition=99)
            connection.execute(table.INSERT_MANY, table.insert_params([bad], lambda _: 100))
        place.add(row(topic, "good", b"0"))
        reader.await_numbers({"good": 1})
        eventually(lambda: dead_rows(place) == [("bad", "0", "key")], 20, "the bad row is dead")
        place.await_empty()


def test_partitions_that_were_added_are_found_although_the_client_does_not_know_them_yet(place: Place) -> None:
    topic = place.topic("numbers")
    with reading(place, topic) as reader, running(relay(place)):
        place.await_state("streaming")
        place.add(row(topic, "old", b"0"))
        reader.await_numbers({"old": 1})  # so its client knows the topic as it was
        admin = AdminClient({"bootstrap.servers": place.kafka})
        admin.create_partitions([NewPartitions(topic, PARTITIONS * 2)])[topic].result(deadline(20))
        with place.connect() as connection:
            later = Row(topic=topic, key="new", type="T", payload=b"0", partition=PARTITIONS)
            connection.execute(table.INSERT_MANY, table.insert_params([later], lambda _: PARTITIONS * 2))
        place.add(row(topic, "old", b"1"))
        place.await_empty()
        assert dead_rows(place) == []
        reader.await_numbers({"old": 2})


def test_of_a_topic_that_is_made_anew_amid_the_sending_no_row_stays_parked(place: Place) -> None:
    """For a moment its client sees the topic without any partition."""
    topic = place.topic("numbers")
    with running(relay(place)):
        place.await_state("streaming")
        number = 0
        for _ in range(4):
            for then in (lambda: None, lambda: place.delete_topic(topic), lambda: place.topic("numbers")):
                then()
                for _ in range(25):
                    place.add(row(topic, "k", b"%d" % number))
                    number += 1
        eventually(lambda: dead_rows(place) == [], 30, "none is parked")
        place.await_empty()


def test_when_a_missing_topic_is_made_without_the_partition_of_a_row_only_that_key_stays_parked(place: Place) -> None:
    topic = f"{place.prefix}numbers"
    place.tell(topic)
    with running(relay(place)):
        place.await_state("streaming")
        with place.connect() as connection:
            bad = Row(topic=topic, key="bad", type="T", payload=b"0", partition=99)
            connection.execute(table.INSERT_MANY, table.insert_params([bad], lambda _: 100))
        place.add(row(topic, "good", b"0"))
        eventually(lambda: [scope for _, _, scope in dead_rows(place)] == ["missing", "behind"], 20, "both wait")
        place.topic("numbers")
        with reading(place, topic) as reader:
            reader.await_numbers({"good": 1})
            place.add(row(topic, "bad", b"1"), row(topic, "good", b"1"))
            reader.await_numbers({"good": 2})
        place.await_empty()
        assert dead_rows(place) == [("bad", "0", "key"), ("bad", "1", "behind")]


def test_a_missing_topic_parks_itself_until_it_is_made(place: Place) -> None:
    topic, missing = place.topic("numbers"), place.prefix + "missing"
    place.tell(missing)
    with reading(place, topic) as reader, running(relay(place)):
        place.await_state("streaming")
        place.add(*(row(missing, f"k{n % 2}", b"%d" % (n // 2)) for n in range(6)), row(topic, "good", b"0"))
        reader.await_numbers({"good": 1})
        eventually(lambda: len(dead_rows(place)) == 6, 20, "the rows of the missing topic wait in outbox_dead")
        place.add(row(missing, "k0", b"3"), row(topic, "good", b"1"))
        reader.await_numbers({"good": 2})
        place.topic("missing")
        with reading(place, missing) as later:
            later.await_numbers({"k0": 4, "k1": 3}, 30)
        place.await_empty()
        assert dead_rows(place) == []


def test_a_deleted_topic_does_not_hold_up_the_others(place: Place) -> None:
    topic, doomed = place.topic("numbers"), place.topic("doomed")
    with reading(place, topic) as reader, running(relay(place)):
        place.await_state("streaming")
        place.add(row(doomed, "k", b"0"), row(topic, "good", b"0"))
        place.await_empty()
        place.delete_topic(doomed)
        for n in range(1, 40):
            place.add(row(doomed, "k", b"%d" % n), row(topic, "good", b"%d" % n))
        reader.await_numbers({"good": 40}, 40)
        eventually(lambda: place.count("outbox_dead") > 0, 20, "the rows of the deleted topic wait in outbox_dead")
        place.await_empty()
        place.await_confirmed()


def test_what_was_parked_is_known_to_the_next_relay(place: Place) -> None:
    topic = place.topic("small", **{"max.message.bytes": "20000"})
    with running(relay(place)):
        place.await_state("streaming")
        place.add(row(topic, "bad", b"x" * 30_000))
        eventually(lambda: place.count("outbox_dead") == 1, 10, "dead")
    with reading(place, topic) as reader, running(relay(place)):
        place.add(row(topic, "bad", b"0"), row(topic, "good", b"0"))
        reader.await_numbers({"good": 1})
        place.await_empty()
    assert dead_rows(place) == [("bad", "x" * 20, "key"), ("bad", "0", "behind")]
