"""Events that others publish: what a participant of ours follows, and that nothing which they get wrong stops it."""

from uuid import uuid4

from confluent_kafka import Producer

from orchestrator.messaging import avro
from orchestrator.messaging.topics import Topics
from tests.deadlines import eventually
from tests.integration.engine.kit import System
from tests.integration.wire.conftest import books
from tests.integration.wire.contracts import MoneyBooked

Headers = list[tuple[str, bytes | None]]


def test_an_event_needs_an_id_a_type_and_a_payload_and_a_wrong_one_stops_nobody(system: System) -> None:
    system.execute("CREATE TABLE booked (key text NOT NULL, account text NOT NULL, amount numeric NOT NULL)")
    system.participants([books])
    producer = Producer({"bootstrap.servers": system.settings.kafka_bootstrap_servers})

    def publish(key: str, *, payload: bytes | None = None, **changes: str | None) -> None:
        given: dict[str, str | None] = {"id": str(uuid4()), "type": "MoneyBooked", **changes}
        headers: Headers = [(name, None if text is None else text.encode()) for name, text in given.items()]
        body = avro.encode(MoneyBooked, {"account": "a", "amount": "1.50", "key": key}) if payload is None else payload
        producer.produce(Topics(system.settings.topic_prefix).events("till-events"), body, b"a", 0, headers=headers)

    publish("no id", id=None)
    publish("no uuid", id="order 7")
    publish("no type", type=None)
    publish("no kind of ours", kind="CloudEvent")
    publish("nobody follows it", type="SomethingElse")
    publish("good without a kind")
    publish("good", kind="event", traceparent=None)
    twice = str(uuid4())
    publish("twice", id=twice)
    publish("twice", id=twice)
    publish("last")
    assert producer.flush(30) == 0
    good = ["good without a kind", "good", "twice", "last"]
    booked = "SELECT key FROM booked ORDER BY ctid"
    found = eventually(lambda: rows if (rows := system.rows(booked))[-1:] == [("last",)] else None, 30, "the last one")
    assert [key for (key,) in found] == good
    assert len(system.rows("SELECT 1 FROM amends.inbox_dead")) == 4
