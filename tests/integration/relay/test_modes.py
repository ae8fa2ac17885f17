"""Several databases in one process; mode external beside another reader; what is written to Kafka, byte for byte."""

import gc
import struct
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import psutil
import psycopg
import pytest
from psycopg import pq
from psycopg.conninfo import make_conninfo

from outbox_relay import Row, outbox
from tests.deadlines import deadline, eventually
from tests.integration.relay.outboxes import Place, process, reading, relay, row, running

STATE = {"cdc": "streaming", "polling": "polling"}


def test_one_process_serves_several_databases(make_place: Callable[[], Place]) -> None:
    places = [make_place() for _ in range(3)]
    topic = places[0].topic("numbers")
    with reading(places[0], topic) as reader, process("cdc", "all", *places) as relays:
        for n, place in enumerate(places):
            place.tell(topic)
            place.add(row(topic, f"of-{n}", b"0"))
            place.await_state("streaming")
            place.add(row(topic, f"of-{n}", b"1"))
        reader.await_numbers({f"of-{n}": 2 for n in range(3)})
        for place in places:
            place.await_empty()
        relays.stop()


@pytest.mark.parametrize("mode", ["cdc", "polling"])
def test_the_bytes_are_those_of_debezium(place: Place, mode: str) -> None:
    """As read from Debezium 3.6.1's router: text, id first. A NULL column is a null header there, and none here."""
    topic = place.topic("bytes")
    headers = {"kind": "reply", "saga_id": "order-1 é", "attempt": "2", "reply_to": "sagas/3"}
    with reading(place, topic) as reader, running(relay(place, mode)), place.connect() as connection:
        place.await_state(STATE[mode])
        given = str(uuid.uuid4())
        sent = Row(topic=topic, key="k-é", type="Charged", payload=b"\x00\x01 bytes", headers=headers, id=given)
        assert outbox.add(connection, sent) == uuid.UUID(given)
        outbox.add(connection, Row(topic=topic, key="", type="T", payload=b"", partition=1))
        stamp = connection.execute(
            'SELECT floor(extract(epoch FROM "timestamp") * 1000)::bigint FROM amends.outbox_sent UNION ALL '
            'SELECT floor(extract(epoch FROM "timestamp") * 1000)::bigint FROM amends.outbox ORDER BY 1'
        ).fetchall()
        reader.await_values([b"\x00\x01 bytes", b""])
    first, second = sorted(reader.messages, key=lambda m: m.value() == b"")
    assert (first.key(), first.value(), first.timestamp()[1]) == ("k-é".encode(), b"\x00\x01 bytes", stamp[0][0])
    assert first.headers() == [
        ("id", given.encode()),
        ("type", b"Charged"),
        ("seq", b"1"),
        ("kind", b"reply"),
        ("saga_id", "order-1 é".encode()),
        ("attempt", b"2"),
        ("reply_to", b"sagas/3"),
    ]
    assert (second.key(), second.value(), second.partition()) == (b"", b"", 1)


class OtherReader:
    """What Debezium (or pg_recvlogical) does with its slot: reads the stream, and confirms when it is told to."""

    def __init__(self, place: Place, slot: str) -> None:
        self._pg = pq.PGconn.connect(make_conninfo(place.url, replication="database").encode())
        self._run(f"CREATE_REPLICATION_SLOT {slot} LOGICAL pgoutput", pq.ExecStatus.TUPLES_OK)
        options = "proto_version '1', publication_names 'amends_outbox'"
        self._run(f"START_REPLICATION SLOT {slot} LOGICAL 0/0 ({options})", pq.ExecStatus.COPY_BOTH)
        self.inserts = 0
        self._end = 0

    def _run(self, command: str, status: pq.ExecStatus) -> None:
        result = self._pg.exec_(command.encode())
        assert result.status == status, self._pg.error_message

    def read(self) -> int:
        self._pg.consume_input()
        while (got := self._pg.get_copy_data(1))[0] > 0:
            data = bytes(got[1])
            if data[:1] == b"w" and data[25:26] == b"I":
                self.inserts += 1
            elif data[:1] == b"w" and data[25:26] == b"C":
                self._end = struct.unpack_from(">Q", data, 35)[0]
            elif data[:1] == b"k":  # all that was committed before has been told
                self._end = max(self._end, struct.unpack_from(">Q", data, 1)[0])
        return self.inserts

    def confirm(self) -> None:
        """All that was read so far: the place of the last keepalive too, or the last rows would wait for later ones."""
        self.read()
        self._pg.put_copy_data(struct.pack(">cQQQqB", b"r", self._end, self._end, self._end, 0, 0))
        self._pg.flush()

    def close(self) -> None:
        self._pg.finish()


@contextmanager
def other_reader(place: Place, slot: str) -> Iterator[OtherReader]:
    reader = OtherReader(place, slot)
    try:
        yield reader
    finally:
        reader.close()


def test_external_deletes_what_the_other_reader_has_confirmed_and_nothing_else(place: Place) -> None:
    topic = place.topic("numbers")
    slot = f"other_{uuid.uuid4().hex[:8]}"
    with other_reader(place, slot) as other, running(relay(place, "external", external_slot=slot)):
        place.await_state("external")
        place.add(*(row(topic, "k", b"%d" % n) for n in range(5)), row(topic, "k", b"5", kind="event"))
        eventually(lambda: other.read() == 6, 10, "the other reader has been told")
        eventually(lambda: place.lease()[3].get("noted") == 6, 10, "the janitor has noted the rows")
        settled = time.monotonic() + deadline(1.5)
        eventually(lambda: place.count() != 6 or time.monotonic() > settled, 5, "some rounds of the janitor")
        assert place.count() == 6
        with psycopg.connect(place.url) as late:
            # A transaction that is open while the rest is confirmed: its row has a smaller number than later ones.
            outbox.add(late, row(topic, "late", b"0"))
            place.add(row(topic, "k", b"6"))
            eventually(lambda: other.read() == 7, 10, "told")
            eventually(lambda: other.confirm() or place.count() == 0, 10, "confirmed rows are deleted")
        eventually(lambda: other.read() == 8, 10, "told of the late one")
        wait_until = time.monotonic() + deadline(1.5)
        eventually(lambda: place.count() != 1 or time.monotonic() > wait_until, 5, "some rounds of the janitor")
        assert place.count() == 1
        eventually(lambda: other.confirm() or place.count() == 0, 10, "the late one is deleted when it is confirmed")
        assert place.count("outbox_sent", "kind = 'event' AND topic_id IS NOT NULL") == 1


def test_external_without_its_slot_deletes_nothing_and_says_so(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    topic = place.topic("numbers")
    with running(relay(place, "external", external_slot="nobody")):
        place.await_state("external")
        place.add(row(topic, "k", b"0"))
        eventually(lambda: "no usable replication slot 'nobody'" in caplog.text, 10, "it says so")
    assert place.count() == 1


def test_external_goes_by_no_slot_of_another_database(
    make_place: Callable[[], Place], caplog: pytest.LogCaptureFixture
) -> None:
    """Slots are of the whole server: what another database's slot has confirmed says nothing of the rows here."""
    theirs, ours = make_place(), make_place()
    topic = ours.topic("numbers")
    theirs.tell(topic)
    slot = f"other_{uuid.uuid4().hex[:8]}"
    both = (relay(theirs, "external", external_slot=slot), relay(ours, "external", external_slot=slot))
    with other_reader(theirs, slot) as other, running(*both):
        ours.await_state("external")
        theirs.await_state("external")
        ours.add(row(topic, "k", b"0"))
        eventually(lambda: f"this database has no usable replication slot '{slot}'" in caplog.text, 10, "it says so")
        theirs.add(row(topic, "k", b"0"))  # behind ours in the WAL
        eventually(lambda: other.confirm() or theirs.count() == 0, 20, "the slot's own database goes by it")
        rounds = time.monotonic() + deadline(1.5)
        eventually(lambda: other.confirm() or time.monotonic() > rounds, 10, "some rounds of the janitors")
        assert ours.count() == 1


def test_external_finds_the_slot_that_is_named_after_its_database(make_place: Callable[[], Place]) -> None:
    places = [make_place() for _ in range(2)]
    topic = places[0].topic("numbers")
    places[1].tell(topic)
    with ExitStack() as stack:
        named = [stack.enter_context(other_reader(place, f"debezium_{name_of(place)}")) for place in places]
        stack.enter_context(
            running(*(relay(place, "external", external_slot="debezium_{database}") for place in places))
        )
        for place, reader in zip(places, named, strict=True):
            place.await_state("external")
            place.add(row(topic, "k", b"0"))
            eventually(lambda p=place, r=reader: r.confirm() or p.count() == 0, 20, "each goes by its own")


def name_of(place: Place) -> str:
    with place.connect() as connection:
        return connection.execute("SELECT current_database()").fetchone()[0]


def noted_and_deleted(place: Place) -> tuple[int, int]:
    health = place.lease()[3]
    return health.get("noted", 0), health.get("deleted", 0)


def test_external_does_not_believe_a_slot_that_was_made_again(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """It is born with all WAL before it confirmed; what was noted there has been sent by nobody."""
    topic = place.topic("numbers")
    slot = f"other_{uuid.uuid4().hex[:8]}"
    with running(relay(place, "external", external_slot=slot)):
        with other_reader(place, slot) as other:
            place.await_state("external")
            place.add(row(topic, "k", b"0"))
            eventually(lambda: other.confirm() or place.count() == 0, 20, "the first is sent and deleted")
            eventually(lambda: noted_and_deleted(place) == (0, 1), 20, "it says so")
            place.add(row(topic, "k", b"1"))
            eventually(lambda: noted_and_deleted(place) == (1, 1), 20, "the second is noted, and not sent")
        with place.connect() as connection:
            drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s"
            eventually(lambda: not connection.execute(f"{drop} AND NOT active", [slot]).rowcount < 1, 20, "lost")
        eventually(lambda: "no usable replication slot" in caplog.text, 20, "it says so")
        eventually(lambda: noted_and_deleted(place) == (0, 1), 20, "the note is forgotten")
        with place.connect() as connection:
            assert connection.execute("SELECT lost LIKE '%usable%' FROM amends.relay_slot").fetchone() == (True,)
        with other_reader(place, slot) as other:
            eventually(lambda: noted_and_deleted(place) == (1, 1), 20, "it is noted again")
            rounds = time.monotonic() + deadline(1.5)
            eventually(lambda: place.count() != 1 or time.monotonic() > rounds, 10, "some rounds of the janitor")
            assert place.count() == 1
            eventually(lambda: other.confirm() or place.count() == 0, 20, "later WAL is confirmed")


@pytest.mark.parametrize("kafka", [None, "127.0.0.1:1"], ids=["that answers", "that never answers"])
def test_a_relay_that_has_stopped_leaves_no_thread_and_no_kafka_client(place: Place, kafka: str | None) -> None:
    """It would knock at the brokers for ever."""
    topic, this = place.topic("numbers"), psutil.Process()
    gc.collect()
    before = this.num_threads()
    stopped = relay(replace(place, kafka=kafka or place.kafka))
    gc.disable()  # what only a collection ends may stay for hours
    try:
        with running(stopped):
            place.await_state("streaming")
            place.add(row(topic, "k", b"0"))
            eventually(lambda: this.num_threads() > before + 3, 10, "it is at work")
        # A question that a slow broker has not answered yet is left behind: some 10 s.
        eventually(lambda: this.num_threads() <= before, 45, "all its threads have ended")
    finally:
        gc.enable()
    assert stopped.health().state == "waiting"
