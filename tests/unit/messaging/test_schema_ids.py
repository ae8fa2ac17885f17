"""Ids of the registry: asked for beside the reading, kept in memory and on disk, not given up while it is away."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import limits
from orchestrator.messaging import avro
from orchestrator.messaging.registry import NotRegistered, Registry, RegistryAway
from orchestrator.messaging.schema_folder import SchemaFolder, default_folder
from orchestrator.messaging.schema_ids import SchemaIds
from tests.deadlines import eventually
from tests.schema_registry import SchemaRegistry


def schema(name: str = "Crate") -> dict[str, object]:
    return {"type": "record", "name": name, "fields": [{"name": "n", "type": "long"}]}


@pytest.fixture
def made() -> Iterator[list[SchemaIds]]:
    ids: list[SchemaIds] = []
    yield ids
    for one in ids:
        one.close()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REGISTRY_RETRY_FIRST_S", 0.01)
    monkeypatch.setattr(limits, "REGISTRY_RETRY_MAX_S", 0.05)


@pytest.fixture
def process(schema_registry: SchemaRegistry, made: list[SchemaIds], tmp_path: Path):
    """A process that begins: its memory is empty, its disk as the one before it left it."""

    def begin() -> SchemaIds:
        made.append(SchemaIds(Registry(schema_registry.url), SchemaFolder(tmp_path, schema_registry.url)))
        return made[-1]

    return begin


def known(ids: SchemaIds, number: int) -> avro.Codec:
    eventually(lambda: ids.ready(number), 20, f"an answer about schema {number}")
    return ids.codec(number)


def test_an_id_is_pending_until_the_registry_has_said_what_it_is(schema_registry: SchemaRegistry, process) -> None:
    number, ids = schema_registry.add("Crate", schema()), process()
    schema_registry.trouble = "slow"
    began_s = time.monotonic()
    assert not ids.ready(number)
    with pytest.raises(avro.SchemaPending, match=str(number)):
        ids.codec(number)
    assert time.monotonic() - began_s < limits.REGISTRY_TIMEOUT_S / 2, "who reads does not wait for the network"
    schema_registry.trouble = None
    schema_registry.release.set()
    assert known(ids, number).name == "Crate"
    assert schema_registry.asked[f"GET /schemas/ids/{number}"] <= 2
    ids.codec(number)
    assert schema_registry.asked[f"GET /schemas/ids/{number}"] <= 2, "asked once, then known"


@pytest.mark.parametrize("trouble", ["nobody", 500, 401, "page"])
def test_while_the_registry_is_away_an_id_stays_pending_and_then_it_is_known(
    schema_registry: SchemaRegistry, process, trouble: str | int, caplog: pytest.LogCaptureFixture
) -> None:
    number, ids = schema_registry.add("Crate", schema()), process()
    caplog.set_level(logging.INFO, "orchestrator.messaging.schemas")
    if trouble == "nobody":
        schema_registry.stop()
    else:
        schema_registry.trouble = trouble
    assert not ids.ready(number)
    if trouble != "nobody":
        path = f"GET /schemas/ids/{number}"
        eventually(lambda: schema_registry.asked[path] >= 4, 20, "asked again and again")
    else:
        eventually(lambda: ids._delay_s == limits.REGISTRY_RETRY_MAX_S, 20, "asked again and again")
    with pytest.raises(avro.SchemaPending):
        ids.codec(number)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1, "said once, not at each try"
    assert f"messages of the schemas {number} wait for it" in said[0]
    if trouble == "nobody":
        schema_registry.start()
    schema_registry.trouble = None
    assert known(ids, number).name == "Crate"
    eventually(lambda: "answers again" in caplog.records[-1].getMessage(), 20, "said that it is back")


def test_it_says_so_again_every_so_often(
    schema_registry: SchemaRegistry, process, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limits, "REGISTRY_SAY_EVERY_S", 0.1)
    schema_registry.trouble = 500
    process().ready(101)
    eventually(lambda: len(caplog.records) >= 3, 20, "three times")


def test_an_id_that_the_registry_does_not_have_is_unknown_until_it_is_registered(
    schema_registry: SchemaRegistry, process, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = process()
    eventually(lambda: ids.ready(101), 20, "an answer")
    with pytest.raises(avro.UnknownSchema, match="no schema 101"):
        ids.codec(101)
    assert schema_registry.add("Crate", schema()) == 101
    assert ids.ready(101), "for a while it is not asked again"
    monkeypatch.setattr(limits, "SCHEMA_ID_UNKNOWN_S", 0.0)
    assert not ids.ready(101)
    with pytest.raises(avro.UnknownSchema):
        ids._unknown[101] and ids.codec(101)  # what was read as unknown is decoded as unknown meanwhile
    eventually(lambda: 101 in ids._codecs, 20, "asked again")
    assert ids.codec(101).name == "Crate"


def test_what_is_unknown_is_remembered_up_to_a_limit(
    schema_registry: SchemaRegistry, process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SCHEMA_IDS_UNKNOWN_MAX", 3)
    ids = process()
    for number in range(6):
        eventually(lambda number=number: ids.ready(number), 20, "an answer")
    assert sorted(ids._unknown) == [3, 4, 5]


@pytest.mark.parametrize(
    "odd", [{"type": "enum", "name": "E", "symbols": ["A"]}, {"type": "record"}, "no such", 7, {"type": "fixed"}]
)
def test_a_schema_that_we_have_no_way_with_is_unknown_and_hurts_nobody(
    schema_registry: SchemaRegistry, process, odd: object
) -> None:
    number, good, ids = schema_registry.add("x", odd), schema_registry.add("Crate", schema()), process()
    eventually(lambda: ids.ready(number), 20, "an answer")
    with pytest.raises(avro.UnknownSchema, match="can't be used here"):
        ids.codec(number)
    assert known(ids, good).name == "Crate"


def test_a_process_that_begins_while_the_registry_is_away_reads_from_disk(
    schema_registry: SchemaRegistry, process
) -> None:
    number = schema_registry.add("Crate", schema())
    known(process(), number)
    schema_registry.stop()
    assert known(process(), number).name == "Crate"


def test_a_registry_that_was_set_up_anew_is_believed_before_the_disk(schema_registry: SchemaRegistry, process) -> None:
    number = schema_registry.add("Crate", schema())
    known(process(), number)
    schema_registry.lose_all()
    assert schema_registry.add("Other", schema("Other")) == number
    assert known(process(), number).name == "Other"
    schema_registry.stop()
    assert known(process(), number).name == "Other", "and what it says now is kept"


@pytest.mark.parametrize("damage", ["cut", "other", "id", "binary"])
def test_a_damaged_file_is_none_and_is_replaced(
    schema_registry: SchemaRegistry, process, tmp_path: Path, damage: str
) -> None:
    number = schema_registry.add("Crate", schema())
    known(process(), number)
    [path] = tmp_path.rglob("*.json")
    whole = path.read_bytes()
    path.write_bytes(
        {
            "cut": whole[:-9],
            "other": whole.replace(b'"Crate"', b'"Crane"'),
            "id": whole.replace(b'"id": 101', b'"id": 102'),
            "binary": b"\xff\x00",
        }[damage]
    )
    schema_registry.trouble = 500
    ids = process()
    assert not ids.ready(number)
    eventually(lambda: schema_registry.asked[f"GET /schemas/ids/{number}"] >= 4, 20, "asked again and again")
    assert not ids.ready(number), "the file is not believed"
    schema_registry.trouble = None
    assert known(ids, number).name == "Crate"
    assert path.read_bytes() == whole
    assert [one.name for one in path.parent.iterdir()] == [path.name], "nothing half-written is left"


def test_a_folder_that_is_none_is_said_once(
    schema_registry: SchemaRegistry, made: list[SchemaIds], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    made.append(ids := SchemaIds(Registry(schema_registry.url), SchemaFolder(tmp_path / "file", "x")))
    for name in ("A", "B"):
        known(ids, schema_registry.add(name, schema(name)))
    assert len([one for one in caplog.records if "AMENDS_SCHEMA_CACHE_DIR" in one.getMessage()]) == 1


def test_two_registries_do_not_share_their_ids(tmp_path: Path) -> None:
    SchemaFolder(tmp_path, "http://one").keep(7, schema())
    assert SchemaFolder(tmp_path, "http://one").read(7) == schema()
    assert SchemaFolder(tmp_path, "http://two").read(7) is None


def test_the_folder_is_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "amends/schemas"
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert default_folder() == Path.home() / ".cache/amends/schemas"


# ---- what is to be written -------------------------------------------------------------------------------------------


def test_the_ids_of_what_is_written_are_looked_up_and_all_that_are_missing_named(
    schema_registry: SchemaRegistry, process
) -> None:
    number = schema_registry.add("Crate", schema())
    assert process().ids_of({"Crate": schema()}) == {"Crate": number}
    with pytest.raises(NotRegistered, match=r"of A, B\. Register .* amends schemas register MODULE:APP"):
        process().ids_of({"Crate": schema(), "A": schema("A"), "B": schema("B")})
    assert sorted(schema_registry.subjects) == ["Crate"], "nothing is registered by looking it up"


def test_the_same_schema_under_another_subject_does_not_count(schema_registry: SchemaRegistry, process) -> None:
    schema_registry.add("Other", schema())
    with pytest.raises(NotRegistered, match="Crate"):
        process().ids_of({"Crate": schema()})


def test_a_start_while_the_registry_is_away_goes_by_what_it_said_earlier(
    schema_registry: SchemaRegistry, process
) -> None:
    number = schema_registry.add("Crate", schema())
    schema_registry.add("A", schema("A"))
    wanted = {"Crate": schema(), "A": schema("A")}
    found = process().ids_of(wanted)
    schema_registry.stop()
    again = process()
    assert again.ids_of(wanted) == found
    assert again.codec(number).name == "Crate"
    with pytest.raises(RegistryAway, match="not reachable"):
        process().ids_of({**wanted, "New": schema("New")})
