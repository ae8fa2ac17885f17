"""Debezium in the relay's place, as docs/operations/relay.md configures it: the real one, in Kafka Connect."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from orchestrator.local import ports
from orchestrator.local.paths import VarDir
from outbox_relay import Row
from tests.deadlines import eventually
from tests.integration.relay.debezium import Connect
from tests.integration.relay.outboxes import Place, Writers, process, reading, relay, row, running, wait

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def slot(place: Place) -> Iterator[str]:
    name = f"debezium_{uuid.uuid4().hex[:8]}"
    yield name
    with place.connect() as connection:
        drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s"
        eventually(lambda: _dropped(connection, drop, name), 20, "its slot is dropped")


def _dropped(connection: psycopg.Connection, drop: str, name: str) -> bool:
    try:
        connection.execute(drop, [name])
    except psycopg.errors.ObjectInUse:  # the killed worker's connection has not ended yet
        return False
    return True


@pytest.fixture
def connect(place: Place, slot: str, tmp_path: Path) -> Connect:
    var = VarDir(tmp_path / "var")
    var.root.mkdir()
    port = ports.take(["connect"], var, tmp_path)["connect"]
    return Connect(place, tmp_path / "connect", slot, port)


def test_a_killed_debezium_loses_nothing_keeps_the_order_and_the_relay_deletes(
    place: Place, connect: Connect, slot: str
) -> None:
    topic = place.topic("numbers")
    place.add(row(topic, "before", b"0"))  # it is in the table before there is a slot
    writers = Writers(place, topic, 2, pause_s=0.02)
    with reading(place, topic) as reader, running(relay(place, "external", external_slot=slot)):
        place.await_state("external")
        with writers.running():
            with connect.running():
                eventually(lambda: reader.read() > 50, 30, "it sends")
            wait(0.5)
            with connect.running():
                wait(0.5)
                written = writers.finish()
                reader.await_numbers({**written, "before": 1})
                place.await_empty(60)


def test_what_kafka_does_not_take_is_not_deleted_however_quiet_the_database_is(
    place: Place, connect: Connect, slot: str
) -> None:
    """Its driver confirms the WAL of others by itself; not past a row that is on its way."""
    topic, missing = place.topic("numbers"), f"{place.prefix}missing"
    with reading(place, topic) as reader, running(relay(place, "external", external_slot=slot)), connect.running():
        place.add(row(topic, "k", b"0"))
        place.await_empty(60)
        place.add(row(missing, "k", b"0"))
        place.add(row(topic, "k", b"1"))
        with place.connect() as others:
            for _ in range(15):
                others.execute("UPDATE numbers SET next = 0")
                wait(1)
        assert place.count() == 2
        reader.read(1)
        assert reader.values() == {b"0"}
        place.topic("missing")
        reader.await_numbers({"k": 2}, 60)
        place.await_empty(60)


def test_the_bytes_are_those_of_our_relay(place: Place, connect: Connect, slot: str) -> None:
    topic = place.topic("bytes")
    headers = {"kind": "reply", "saga_id": "order-1 é", "attempt": "2", "reply_to": "sagas/3"}
    rows = [
        Row(topic=topic, key="k-é", type="Charged", payload=b"\x00\x01 bytes", headers=headers, id=str(uuid.uuid4())),
        Row(topic=topic, key="", type="T", payload=b"", partition=1),
    ]
    with reading(place, topic) as reader, running(relay(place, "external", external_slot=slot)), connect.running():
        place.add(*rows)
        reader.await_values([b"\x00\x01 bytes", b""])
        place.await_empty(60)
        theirs = sorted(map(_seen, reader.messages))
    assert len(theirs) == 2
    with reading(place, topic) as reader, process("cdc", "ours", place):
        place.add(*rows)
        eventually(lambda: reader.read() is not None and len(reader.messages) == 4, 30, "ours are there")
        ours = sorted(_seen(message) for message in reader.messages[2:])
    assert ours == theirs


def _seen(message: object) -> tuple:
    """All but the numbers of the row, which are its own; Debezium has a null where our relay leaves a header out."""
    told = [(name, value) for name, value in message.headers() if value is not None and name not in ("seq", "id")]
    return message.key(), message.value(), message.partition(), told
