"""Sagas over a schema registry, on real Kafka and Postgres, in processes of their own: what is on the wire, what
happens when the registry goes away in the middle, and what is refused before anything runs.
"""

import io
import json
import signal
from collections import Counter
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from fastavro import schemaless_writer

from orchestrator import SyncClient
from orchestrator.cli import exits
from orchestrator.client import requests
from orchestrator.client.requests import shard_of
from orchestrator.messaging import avro, framing
from orchestrator.messaging.outgoing import Request
from outbox_relay import outbox
from tests.deadlines import deadline, eventually
from tests.integration.registry.app import ShipNow, TooHeavy, ship
from tests.integration.registry.conftest import APP, SHARDS, Installation

pytestmark = pytest.mark.slow

# As they were before their younger fields came: who has not been deployed yet still sends them.
FORMER_SHIP_NOW = {"type": "record", "name": "ShipNow", "fields": [{"name": "by", "type": "string"}]}
FORMER_PACK_BOX = {"type": "record", "name": "PackBox", "fields": [{"name": "number", "type": "string"}]}


def framed(schema_id: int, schema: dict[str, Any], body: dict[str, Any]) -> bytes:
    """Confluent's wire format, by fastavro alone."""
    out = io.BytesIO(b"\x00" + schema_id.to_bytes(4, "big"))
    out.seek(0, io.SEEK_END)
    schemaless_writer(out, schema, body)
    return out.getvalue()


def saga_ids(shard: int, count: int, prefix: str = "box") -> list[str]:
    """Ids of sagas of this shard."""
    found = (f"{prefix}-{n}" for n in range(10_000))
    return [one for one in found if shard_of(one, SHARDS) == shard][:count]


def waiting_for_message(installation: Installation, ids: list[str]) -> None:
    turns = "SELECT s.id FROM amends.journal JOIN amends.sagas s USING (saga_no) WHERE s.id = ANY (%s)"

    def all_wait() -> bool:
        count = Counter(one for (one,) in installation.rows(turns, ids))
        return all(count[one] >= 2 for one in ids)  # begun, and answered

    eventually(all_wait, 60, f"{len(ids)} sagas wait for their message")


def ended(installation: Installation, ids: list[str]) -> set[str]:
    return {
        one
        for (one,) in installation.rows("SELECT id FROM amends.sagas WHERE ended_at IS NOT NULL AND id = ANY (%s)", ids)
    }


def on_the_wire(installation: Installation) -> list[tuple[str, str, bytes]]:
    """All messages of the installation: topic, kind, value."""
    settings = installation.settings
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": "foreign"})
    topics = [name for name in consumer.list_topics(timeout=20).topics if name.startswith(settings.topic_prefix)]
    found: list[tuple[str, str, bytes]] = []
    for topic in topics:
        for partition in consumer.list_topics(topic, timeout=20).topics[topic].partitions:
            _, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=20)
            consumer.assign([TopicPartition(topic, partition, 0)])
            while high and (message := consumer.poll(deadline(10))) is not None:
                kind = dict(message.headers() or [])["kind"].decode()
                found.append((topic.removeprefix(settings.topic_prefix), kind, message.value()))
                if message.offset() + 1 >= high:
                    break
    consumer.close()
    return found


def test_a_saga_goes_there_and_back_and_a_foreign_consumer_reads_it_all(installation: Installation) -> None:
    installation.register()
    installation.start_all()
    with SyncClient(installation.settings) as client:
        for number in ("7", "heavy-8"):
            client.start(ship, number, id=f"ship-{number}")
            client.send(f"ship-{number}", ShipNow(by="noon"))
        assert client.result(ship, "ship-7", timeout=deadline(90)) == "2 things by noon, post"
        with pytest.raises(TooHeavy):
            client.result(ship, "ship-heavy-8", timeout=deadline(90))
    registry = SchemaRegistryClient({"url": installation.registry.url})
    read = AvroDeserializer(registry)
    said: dict[str, list[Any]] = {}
    for topic, kind, value in on_the_wire(installation):
        if kind == "undone":
            assert value == b"", "an undo that was made says nothing more"
            continue
        assert value[:1] == b"\x00", (topic, kind, value)
        schema = json.loads(registry.get_schema(int.from_bytes(value[1:5], "big")).schema_str)
        # The answer of a Command[None] has no body. That client's deserializer refuses such; the format does not.
        body = None if schema == "null" else read(value, SerializationContext(topic, MessageField.VALUE))
        assert len(value) > 5 or schema == "null"
        name = schema["name"] if isinstance(schema, dict) else schema
        said.setdefault(f"{topic} {kind} {name}", []).append(body)
        if kind == "undo":
            # What an undo carries is framed as what it was when it travelled alone.
            assert read(body["command"], None) == {"number": "heavy-8", "colour": "brown"}
            assert read(body["reply"], None) == {"number": "heavy-8", "weights": [1, 2]}
    assert {"number": "7", "colour": "brown"} in said["packers.commands command PackBox"]
    assert {"number": "7", "weights": [1, 2]} in said["sagas reply Box"]
    assert None in said["sagas reply null"]
    assert {"number": "7"} in said["boxes event BoxPacked"]
    assert {"by": "noon", "carrier": "post"} in said["sagas message ShipNow"]
    assert [one["type"] for one in said["sagas reply Problem"]] == ["TooHeavy"]
    assert len(said["sagas start Start"]) == 2
    assert len(said["packers.commands undo Undo"]) == 1
    assert installation.rows("SELECT count(*) FROM amends.dead_letters") == [(0,)]


def test_a_registry_that_goes_away_in_the_middle_pauses_and_loses_nothing(installation: Installation) -> None:
    registry = installation.registry
    installation.register()
    older_message = registry.add("ShipNow", FORMER_SHIP_NOW)
    older_command = registry.add("PackBox", FORMER_PACK_BOX)
    installation.start_all()
    late, behind, *others = [*saga_ids(0, 2), *(saga_ids(shard, 1)[0] for shard in range(1, SHARDS))]
    with SyncClient(installation.settings) as client:
        for one in (late, behind, *others):
            client.start(ship, one, id=one)
        waiting_for_message(installation, [late, behind, *others])
        framing.prepare(installation.settings, [ShipNow])  # this process is told in time what it writes
        registry.stop()
        payload = framed(older_message, FORMER_SHIP_NOW, {"by": "night"})
        prefix = installation.settings.topic_prefix
        client.request(requests.send_encoded(late, "ShipNow", payload, "", None, prefix))
        eventually(lambda: installation.rows("SELECT 1 FROM amends.outbox") == [], 30, "it is in Kafka")
        for one in (behind, *others):
            client.send(one, ShipNow(by="day"))
        # Other shards are not held up: their sagas call the participant once more, and end.
        eventually(lambda: ended(installation, others) == set(others), 60, "the sagas of the other shards end")
        assert ended(installation, [late, behind]) == set()

        # A process that begins meanwhile writes and reads by what was said earlier, and waits for the rest.
        installation.running["orchestrator"].kill()
        installation.running["orchestrator"].wait()
        installation.process("orchestrator", APP)
        once_more = saga_ids(1, 2)[1]
        client.start(ship, once_more, id=once_more)
        client.send(once_more, ShipNow(by="day"))
        eventually(lambda: ended(installation, [once_more]), 90, "a saga of another shard, by the new process")

        # The participant is sent a command of a schema that it has to ask for: it holds it, and what lies behind it.
        with client._connection() as connection, connection.transaction():
            outbox.add(connection, command_row(prefix, framed(older_command, FORMER_PACK_BOX, {"number": "x"})))
        eventually(lambda: installation.rows("SELECT 1 FROM amends.outbox") == [], 30, "it is in Kafka")
        last = saga_ids(2, 2)[1]
        client.start(ship, last, id=last)
        client.send(last, ShipNow(by="day"))
        eventually(lambda: len(journal_of(installation, last)) == 1, 60, "its command is sent")
        assert installation.rows("SELECT count(*) FROM amends.inbox WHERE key = 'older:0:0'") == [(0,)]
        assert ended(installation, [late, behind]) == set()
        assert nothing_buried(installation)

        registry.start()
        assert client.result(ship, late, timeout=deadline(60)) == "2 things by night, post"
        assert client.result(ship, behind, timeout=deadline(60)) == "2 things by day, post"
        assert client.result(ship, last, timeout=deadline(60)) == "2 things by day, post"
        done = "SELECT state FROM amends.inbox WHERE key = 'older:0:0'"
        eventually(lambda: installation.rows(done) == [("done",)], 60, "the command is handled")
        assert nothing_buried(installation)

        # What the registry says that it does not have is another matter: nobody will ever read it.
        unknown = b"\x00" + (9_999).to_bytes(4, "big") + b"\x02a"
        client.request(requests.send_encoded(late, "ShipNow", unknown, "", None, prefix))
        [(error,)] = eventually(lambda: installation.rows("SELECT error FROM amends.dead_letters"), 60, "a dead letter")
        assert "no schema 9999" in error
    for role in ("orchestrator", "participant"):
        assert installation.running[role].poll() is None, f"{role} has run all the time"
        installation.running[role].send_signal(signal.SIGTERM)
        assert installation.running[role].wait(deadline(40)) == 0


def command_row(prefix: str, payload: bytes) -> Any:
    request = Request(
        topic=f"{prefix}packers.commands", saga_id="nobody", operation_key="older:0:0", attempt=1, type="PackBox",
        reply_to=f"{prefix}sagas/0", nonce="n", expires_at="2099-01-01T00:00:00+00:00",
    )  # fmt: skip
    return request.row("command", payload)


def journal_of(installation: Installation, saga_id: str) -> list[tuple[Any, ...]]:
    query = "SELECT body FROM amends.journal JOIN amends.sagas USING (saga_no) WHERE id = %s AND body::text LIKE %s"
    return installation.rows(query, saga_id, "%PackBox%")


def nothing_buried(installation: Installation) -> bool:
    return installation.rows(
        "SELECT (SELECT count(*) FROM amends.dead_letters) + (SELECT count(*) FROM amends.inbox_dead)"
    ) == [(0,)]


@pytest.mark.parametrize("role", ["orchestrator", "participant"])
def test_what_nobody_registered_is_said_before_anything_runs(installation: Installation, role: str) -> None:
    said = installation.process(role, APP, heard=True).communicate(timeout=deadline(60))[1].decode()
    assert installation.running[role].returncode == exits.DEFINITION
    assert "amends schemas register MODULE:APP" in said and "PackBox" in said and "amends.Start" in said
    assert installation.registry.subjects == {}
    installation.register()
    installation.registry.stop()
    said = installation.process(role, APP, heard=True).communicate(timeout=deadline(60))[1].decode()
    assert installation.running[role].returncode == exits.DEPENDENCY
    assert f"{installation.registry.url} is not reachable" in said


def test_a_fleet_is_moved_over_one_process_at_a_time(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The participant still writes fingerprints, the orchestrator writes ids already: both read both."""
    installation.register()
    installation.process("relay")
    monkeypatch.setenv("AMENDS_PAYLOAD_FRAMING", "fingerprint")
    installation.process("participant", APP)
    monkeypatch.delenv("AMENDS_PAYLOAD_FRAMING")
    installation.process("orchestrator", APP)
    with SyncClient(installation.settings.model_copy(update={"payload_framing": "fingerprint"})) as client:
        client.start(ship, "7", id="ship-7")
        client.send("ship-7", ShipNow(by="noon"))
        assert client.result(ship, "ship-7", timeout=deadline(90)) == "2 things by noon, post"
    begins = {(kind, value[:1] == b"\x00") for _, kind, value in on_the_wire(installation) if kind != "settled"}
    assert begins == {("start", False), ("message", False), ("reply", False), ("command", True), ("event", True)}
    assert avro.has_registry()
