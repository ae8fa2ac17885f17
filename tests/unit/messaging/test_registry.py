"""What the registry says for certain, and everything else: only the first may decide about a message."""

import builtins
import logging

import pytest

from orchestrator.errors import DefinitionError, DependencyError
from orchestrator.messaging import registration
from orchestrator.messaging.avro import UnknownSchema
from orchestrator.messaging.registry import COMPATIBILITY, NotRegistered, Registry, RegistryAway, without_userinfo
from orchestrator.messaging.schema_files import incompatible
from tests.schema_registry import SchemaRegistry


def record(**fields: object) -> dict[str, object]:
    """A record of these fields; (type, default) for one that has a default."""
    listed = [
        {"name": name, "type": type_[0], "default": type_[1]} if isinstance(type_, tuple) else
        {"name": name, "type": type_}
        for name, type_ in fields.items()
    ]  # fmt: skip
    return {"type": "record", "name": "Parcel", "fields": listed}


SMALL = record(weight="long")
GROWN = record(weight="long", colour=("string", "brown"))
BROKEN = record(weight="long", colour="string")


@pytest.fixture
def mock() -> Registry:
    """The client's own mock."""
    return Registry("mock://shop")


def test_what_was_registered_is_found_by_id_and_by_schema(mock: Registry) -> None:
    assert mock.versions("Parcel") == {}
    small = mock.register("Parcel", SMALL)
    grown = mock.register("Parcel", GROWN)
    assert small != grown
    assert (mock.schema(small), mock.schema(grown)) == (SMALL, GROWN)
    assert mock.id_of("Parcel", SMALL) == small
    assert mock.versions("Parcel") == {1: SMALL, 2: GROWN}


def test_what_was_not_registered_is_not_there_and_stays_so(mock: Registry) -> None:
    with pytest.raises(NotRegistered, match="Parcel"):
        mock.id_of("Parcel", SMALL)
    with pytest.raises(UnknownSchema, match="no schema 7"):
        mock.schema(7)
    assert mock.versions("Parcel") == {}, "looking up registers nothing"


def test_an_incompatible_schema_registers_nothing_at_all(mock: Registry) -> None:
    mock.register("Parcel", SMALL)
    with pytest.raises(
        DefinitionError, match=r"Parcel, version 1 of mock://shop: Parcel.colour is new and has no default"
    ):
        registration.register(mock, {"Letter": record(text="string"), "Parcel": BROKEN})
    assert mock.versions("Letter") == {}
    assert registration.problems_with(mock, {"Parcel": GROWN}) == []


def test_registering_twice_is_registering_once(schema_registry: SchemaRegistry) -> None:
    registry = Registry(schema_registry.url)
    [first] = registration.register(registry, {"Parcel": SMALL})
    [again] = registration.register(Registry(schema_registry.url), {"Parcel": SMALL})
    assert (first.id, first.is_new, first.level) == (101, True, COMPATIBILITY)
    assert (again.id, again.is_new) == (101, False)
    assert schema_registry.levels == {"Parcel": "BACKWARD_TRANSITIVE"}


def test_every_version_counts_not_only_the_latest(schema_registry: SchemaRegistry) -> None:
    schema_registry.add("Parcel", SMALL)
    schema_registry.add("Parcel", record(weight="long", colour="string"))
    [problem] = registration.problems_with(Registry(schema_registry.url), {"Parcel": BROKEN})
    assert "version 1" in problem


def test_a_level_that_the_operators_set_is_left_and_obeyed(schema_registry: SchemaRegistry) -> None:
    schema_registry.add("Parcel", SMALL)
    schema_registry.levels["Parcel"] = "FULL"
    registry, wider = Registry(schema_registry.url), record(weight="double")
    # We can read what was sent; who has the old version could not read what we would send.
    assert incompatible(wider, SMALL) == []
    with pytest.raises(DefinitionError, match="would refuse it by the compatibility that is set there"):
        registration.register(registry, {"Parcel": wider})
    [grown] = registration.register(registry, {"Parcel": GROWN})
    assert (grown.level, grown.is_new, schema_registry.levels) == ("FULL", True, {"Parcel": "FULL"})


@pytest.mark.parametrize("trouble", [500, 503, 401, 403, 429, "page"])
def test_an_answer_that_says_nothing_of_schemas_is_an_absence(
    schema_registry: SchemaRegistry, trouble: int | str
) -> None:
    number = schema_registry.add("Parcel", SMALL)
    registry = Registry(schema_registry.url)
    schema_registry.trouble = trouble
    with pytest.raises(RegistryAway, match=f"127.0.0.1:{schema_registry.port}"):
        registry.schema(number)
    with pytest.raises(RegistryAway):
        registry.id_of("Parcel", SMALL)
    schema_registry.trouble = None
    assert registry.schema(number) == SMALL


def test_nobody_there_is_an_absence(schema_registry: SchemaRegistry) -> None:
    schema_registry.stop()
    with pytest.raises(RegistryAway, match="not reachable"):
        Registry(schema_registry.url).schema(1)


def test_one_that_does_not_answer_in_time_is_absent(
    schema_registry: SchemaRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.limits.REGISTRY_TIMEOUT_S", 0.1)
    schema_registry.trouble = "slow"
    with pytest.raises(RegistryAway, match="not reachable"):
        Registry(schema_registry.url).schema(1)


def test_user_and_password_stand_in_the_url_and_are_not_shown(
    schema_registry: SchemaRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpx2"):  # which the command line makes quieter
        caplog.set_level(logging.DEBUG, name)
    schema_registry.password = "ada:s3cret/@"
    number = schema_registry.add("Parcel", SMALL)
    with pytest.raises(RegistryAway, match="https://user:password@host"):
        Registry(schema_registry.url).schema(number)
    knowing = Registry(schema_registry.url.replace("//", "//ada:s3cret%2F%40@"))
    assert knowing.schema(number) == SMALL
    assert "s3cret" not in knowing.shown
    schema_registry.trouble = 500
    with pytest.raises(RegistryAway) as caught:
        knowing.schema(number + 1)
    assert "s3cret" not in str(caught.value)
    assert "/schemas/ids/" in caplog.text, "the HTTP library tells of each request"
    assert "s3cret" not in caplog.text


def test_a_schema_of_another_kind_is_an_unknown_one(mock: Registry) -> None:
    from confluent_kafka.schema_registry import Schema

    number = mock._client.register_schema("x", Schema('syntax = "proto3";', "PROTOBUF"))
    with pytest.raises(UnknownSchema, match="PROTOBUF"):
        mock.schema(number)


def test_without_the_clients_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def importing(name: str, *args: object, **kwargs: object) -> object:
        if name.startswith("confluent_kafka.schema_registry"):
            raise ImportError("No module named 'authlib'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", importing)
    with pytest.raises(DependencyError, match=r"pip install 'amends\[registry\]'"):
        Registry("http://127.0.0.1:1")


def test_what_is_no_url_is_said_so() -> None:
    with pytest.raises(DependencyError, match="SCHEMA_REGISTRY_URL registry:8081"):
        Registry("registry:8081")


def test_urls_are_told_apart_without_their_passwords() -> None:
    assert without_userinfo("https://a:b@one:1/,https://two") == "https://one:1,https://two"
