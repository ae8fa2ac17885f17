"""Both framings on the wire: what is written, by whom it is read, and that a process knows before it writes."""

import asyncio
import json
from pathlib import Path

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer

from orchestrator.contracts import Command, Event, Message
from orchestrator.errors import DependencyError, PayloadError
from orchestrator.messaging import avro, control, framing
from orchestrator.messaging.events import event_row
from orchestrator.messaging.registry import NotRegistered, RegistryAway
from orchestrator.settings import Settings
from outbox_relay import outbox
from tests.deadlines import eventually
from tests.schema_registry import SchemaRegistry


class Framed(Message):
    label: str
    n: int = 1


class FrameIt(Command[list[Framed]], service="framers"):
    label: str


class FrameHung(Event, topic="frames", key="label"):
    label: str


class UnframedYet(Message):
    label: str


TYPES = [Framed, FrameIt, FrameHung]
BODY = {"label": "a", "n": 2}


@pytest.fixture
def settings(schema_registry: SchemaRegistry, tmp_path: Path) -> Settings:
    """All of TYPES and the runtime's own are registered; nothing is looked up yet."""
    for subject, schema in framing.subjects(TYPES).items():
        schema_registry.add(subject, schema)
    return Settings(
        database_url="postgresql://nowhere",  # type: ignore[arg-type]
        schema_registry_url=schema_registry.url,  # type: ignore[arg-type]
        schema_cache_dir=tmp_path,
    )


def id_of(registry: SchemaRegistry, subject: str) -> bytes:
    return b"\x00" + registry.subjects[subject][-1].to_bytes(4, "big")


def test_every_payload_is_framed_by_the_registrys_id(settings: Settings, schema_registry: SchemaRegistry) -> None:
    before = avro.encode(Framed, BODY)
    start = control.Start(uid="u", type="t", version=1, input="{}")
    framing.prepare(settings, TYPES)
    payload = avro.encode(Framed, BODY)
    assert payload == id_of(schema_registry, "Framed") + before[10:]
    assert avro.encode(list[Framed], [BODY])[:5] == id_of(schema_registry, "FrameIt.reply")
    assert start.encode()[:5] == id_of(schema_registry, "amends.Start")
    undo = control.Undo(command=avro.encode(FrameIt, {"label": "x"}), reply=None, attempts=1, sent_at_us=1)
    assert control.Undo.decode(undo.encode()) == undo
    assert undo.command[:5] == id_of(schema_registry, "FrameIt")
    assert control.Start.decode(start.encode()) == start
    with pytest.raises(PayloadError, match=r"amends\.Start where amends\.Undo is expected"):
        control.Undo.decode(start.encode())


def test_both_framings_are_read_whatever_is_written(settings: Settings) -> None:
    old = avro.encode(Framed, BODY)
    framing.prepare(settings, TYPES)
    new = avro.encode(Framed, BODY)
    assert old != new
    assert avro.decode(old) == avro.decode(new) == BODY
    assert avro.type_name(old) == avro.type_name(new) == "Framed"
    assert avro.unframed(old) == avro.unframed(new)
    avro.write_ids(only=False)
    assert avro.encode(Framed, BODY) == old
    assert avro.decode(new) == BODY


def test_a_fleet_that_moves_writes_fingerprints_and_reads_ids(
    settings: Settings, schema_registry: SchemaRegistry
) -> None:
    moving = settings.model_copy(update={"payload_framing": "fingerprint"})
    framing.prepare(moving, [UnframedYet])
    assert avro.encode(Framed, BODY)[:2] == b"\xc3\x01"
    assert not framing.wants(moving, [Framed])
    foreign = id_of(schema_registry, "Framed") + avro.unframed(avro.encode(Framed, BODY))
    eventually(lambda: avro.is_readable(foreign), 20, "the registry's answer")
    assert avro.decode(foreign) == BODY


def test_a_foreign_consumer_reads_it(settings: Settings, schema_registry: SchemaRegistry) -> None:
    framing.prepare(settings, TYPES)
    client = SchemaRegistryClient({"url": schema_registry.url})
    assert AvroDeserializer(client)(avro.encode(Framed, BODY), None) == BODY


def test_what_a_foreign_producer_wrote_is_read_and_its_younger_field_is_kept(
    settings: Settings, schema_registry: SchemaRegistry
) -> None:
    from confluent_kafka.schema_registry import record_subject_name_strategy
    from confluent_kafka.schema_registry.avro import AvroSerializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    schema = {"type": "record", "name": "Framed", "fields": [{"name": "label", "type": "string"}]}
    write = AvroSerializer(
        SchemaRegistryClient({"url": schema_registry.url}),
        json.dumps(schema),
        conf={"subject.name.strategy": record_subject_name_strategy},
    )
    payload = write({"label": "older"}, SerializationContext("t", MessageField.VALUE))
    framing.prepare(settings, TYPES)
    eventually(lambda: avro.is_readable(payload), 20, "the registry's answer")
    assert Framed.model_validate_json(json.dumps(avro.decode(payload))) == Framed(label="older", n=1)


def test_what_is_not_registered_is_named_before_anything_runs(
    settings: Settings, schema_registry: SchemaRegistry
) -> None:
    with pytest.raises(NotRegistered, match=r"UnframedYet\. Register it first.*amends schemas register MODULE:APP"):
        framing.prepare(settings, [*TYPES, UnframedYet])
    assert avro.encode(Framed, BODY)[:2] == b"\xc3\x01", "nothing is framed by halves"
    assert "UnframedYet" not in schema_registry.subjects


def test_a_type_that_nobody_looked_up_is_not_written_in_the_other_framing(settings: Settings) -> None:
    avro.encode(UnframedYet, {"label": "a"})
    framing.prepare(settings, TYPES)
    with pytest.raises(PayloadError, match="UnframedYet: its id was not looked up"):
        avro.encode(UnframedYet, {"label": "a"})
    with pytest.raises(PayloadError, match="UnframedYet"):
        avro.encode(UnframedYet, {"label": "a"})


def test_a_registry_that_is_away_at_the_start_with_nothing_on_disk_is_said(
    settings: Settings, schema_registry: SchemaRegistry
) -> None:
    schema_registry.stop()
    with pytest.raises(RegistryAway, match="not reachable"):
        framing.prepare(settings, TYPES)


def test_a_restart_while_the_registry_is_away_goes_on(settings: Settings, schema_registry: SchemaRegistry) -> None:
    framing.prepare(settings, TYPES)
    payload = avro.encode(Framed, BODY)
    framing.forget()  # the process ends
    schema_registry.stop()
    framing.prepare(settings, TYPES)
    assert avro.encode(Framed, BODY) == payload
    assert avro.decode(payload) == BODY


def test_types_that_come_later_are_looked_up_once(settings: Settings, schema_registry: SchemaRegistry) -> None:
    assert framing.wants(settings, [])
    framing.prepare(settings, [])
    assert not framing.wants(settings, [])
    assert framing.wants(settings, [Framed])
    framing.prepare(settings, [Framed])
    framing.prepare(settings, [Framed])
    assert not framing.wants(settings, [Framed])
    assert schema_registry.asked["POST /subjects/Framed"] == 1
    assert schema_registry.asked["POST /subjects/amends.Start"] == 1


def test_a_process_has_one_registry(settings: Settings) -> None:
    framing.prepare(settings, [])
    other = settings.model_copy(update={"schema_registry_url": Settings(
        database_url="postgresql://x", schema_registry_url="http://other:1"  # type: ignore[arg-type]
    ).schema_registry_url})  # fmt: skip
    with pytest.raises(DependencyError, match=r"already, so it can't use http://other:1"):
        framing.prepare(other, [])


def test_without_a_registry_nothing_changes_and_an_id_says_what_to_set() -> None:
    framing.forget()
    bare = Settings(database_url="postgresql://nowhere")  # type: ignore[arg-type]
    assert not framing.wants(bare, [Framed])
    framing.prepare(bare)
    assert avro.encode(Framed, BODY)[:2] == b"\xc3\x01"
    assert avro.is_readable(b"\x00\x00\x00\x00\x07abc")
    with pytest.raises(avro.UnknownSchema, match=r"schema 7 .*set SCHEMA_REGISTRY_URL"):
        avro.decode(b"\x00\x00\x00\x00\x07abc")


@pytest.mark.parametrize(
    "payload", [b"", b"\x00", b"\x00\x00\x00\x07", b"\xc3", b"\xc3\x01abc", b"{}", b"\x01\x00\x00\x00\x07"]
)
def test_bytes_of_neither_framing_are_no_message_and_wait_for_nobody(settings: Settings, payload: bytes) -> None:
    framing.prepare(settings, TYPES)
    assert avro.is_readable(payload)
    with pytest.raises(avro.Undecodable):
        avro.decode(payload)


# ---- outbox.add(connection, event), in a process without settings ----------------------------------------------------


@pytest.fixture
def environment(settings: Settings, schema_registry: SchemaRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", schema_registry.url)
    monkeypatch.setenv("AMENDS_SCHEMA_CACHE_DIR", str(settings.schema_cache_dir))


@pytest.mark.usefixtures("environment")
def test_an_event_of_a_process_without_settings_is_framed_too(schema_registry: SchemaRegistry) -> None:
    row = event_row(FrameHung(label="a"))
    assert row.payload[:5] == id_of(schema_registry, "FrameHung")
    event_row(FrameHung(label="b"))
    assert schema_registry.asked["POST /subjects/FrameHung"] == 1


@pytest.mark.usefixtures("environment")
def test_and_with_the_framing_of_before_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMENDS_PAYLOAD_FRAMING", "fingerprint")
    assert event_row(FrameHung(label="a")).payload[:2] == b"\xc3\x01"
    assert FrameHung(label="a").__outbox_wait__() is None


@pytest.mark.usefixtures("environment")
async def test_on_an_async_connection_the_loop_goes_on_meanwhile(
    schema_registry: SchemaRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    added: list[dict[str, object]] = []

    async def first_row(_connection: object, _statement: object, params: dict[str, object]) -> tuple[str]:
        added.append(params)
        return ("00000000-0000-4000-8000-000000000001",)

    monkeypatch.setattr("outbox_relay.outbox.is_async", lambda _connection: True)
    monkeypatch.setattr("outbox_relay.outbox.first_row_async", first_row)
    schema_registry.trouble = "slow"
    adding = asyncio.ensure_future(outbox.add(object(), FrameHung(label="a")))
    await asyncio.to_thread(eventually, lambda: +schema_registry.asked, 20, "the registry is asked")
    assert not adding.done(), "this runs, so the loop is not held up"
    schema_registry.trouble = None
    schema_registry.release.set()
    await adding
    assert FrameHung(label="a").__outbox_wait__() is None, "once for each type"
    [params] = added
    assert id_of(schema_registry, "FrameHung") in [value[:5] for value in params.values() if isinstance(value, bytes)]
