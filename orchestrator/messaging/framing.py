"""Which framing this process writes, decided once at its edge: the registry's ids or our fingerprints.

A process has one registry. What it writes is looked up before its first saga or message, so that a schema which nobody
registered is an error of the deploy and not of a saga. Nothing is registered here: `amends schemas register` is.
"""

import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, Protocol

from orchestrator.contracts import Message
from orchestrator.errors import DependencyError
from orchestrator.messaging import avro, control, schema_files
from orchestrator.messaging.avro_walk import Schema
from orchestrator.messaging.registry import Registry, without_userinfo
from orchestrator.messaging.schema_folder import SchemaFolder, default_folder
from orchestrator.messaging.schema_ids import SchemaIds

Framing = Literal["registry", "fingerprint"]

URL_VARIABLE = "SCHEMA_REGISTRY_URL"
FRAMING_VARIABLE = "AMENDS_PAYLOAD_FRAMING"
FOLDER_VARIABLE = "AMENDS_SCHEMA_CACHE_DIR"


class Secret(Protocol):
    """A URL that may hold a password."""

    def get_secret_value(self) -> str: ...


class Settings(Protocol):
    """What is needed of orchestrator.settings."""

    @property
    def schema_registry_url(self) -> Secret | None: ...
    @property
    def schema_cache_dir(self) -> Path | None: ...
    @property
    def payload_framing(self) -> Framing: ...


class _Process:
    """What this process has settled on."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.ids: SchemaIds | None = None
        self.registry = ""  # its URL, as it may be shown
        self.looked_up: set[str] = set()  # subjects


_PROCESS = _Process()


def prepare(settings: Settings, types: Iterable[type[Message]] | None = None) -> None:
    """Read ids, and write them for these types (None: all that are imported) and the runtime's own. BLOCKS.

    Does nothing where no registry is set. Raises NotRegistered, RegistryAway; DependencyError for a second registry.
    """
    if settings.schema_registry_url is not None:
        url = settings.schema_registry_url.get_secret_value()
        _prepare(url, settings.schema_cache_dir, settings.payload_framing, types)


def prepare_schema(settings: Settings, subject: str, schema: Schema) -> None:
    """As `prepare`, for a message whose class is not imported. BLOCKS."""
    if settings.schema_registry_url is not None:
        prepare(settings, [])
        if settings.payload_framing == "registry":
            with _PROCESS.lock:
                assert _PROCESS.ids is not None
                _write(_PROCESS.ids, {subject: schema})


def wants(settings: Settings, types: Iterable[type[Message]]) -> bool:
    """Whether `prepare` has something to do for these types: a question to the registry, which takes its time."""
    if settings.schema_registry_url is None:
        return False
    return _PROCESS.ids is None or (settings.payload_framing == "registry" and not _is_prepared(types))


def wants_of_environment(cls: type[Message]) -> bool:
    """As `wants`, for `outbox.add(connection, event)` in a process without settings of ours."""
    if not os.environ.get(URL_VARIABLE) or os.environ.get(FRAMING_VARIABLE) == "fingerprint":
        return False
    return not _is_prepared([cls])


def prepare_of_environment(cls: type[Message]) -> None:
    """As `prepare`, for the same. BLOCKS."""
    folder = os.environ.get(FOLDER_VARIABLE)
    _prepare(os.environ[URL_VARIABLE], Path(folder) if folder else None, "registry", [cls])


def subjects(types: Iterable[type[Message]]) -> dict[str, Schema]:
    """The schemas of these types and of the runtime's own messages, by subject."""
    ours = {f"{schema['namespace']}.{schema['name']}": schema for schema in control.SCHEMAS.values()}
    return ours | schema_files.schemas_of(types)


def forget() -> None:
    """Write fingerprints again and know no registry: for tests, which are many processes in one."""
    with _PROCESS.lock:
        if _PROCESS.ids is not None:
            _PROCESS.ids.close()
        _PROCESS.ids, _PROCESS.registry = None, ""
        _PROCESS.looked_up.clear()
        avro.read_ids(None)
        avro.write_ids(only=False)


def _is_prepared(types: Iterable[type[Message]]) -> bool:
    return bool(_PROCESS.looked_up) and all(cls.__wire_name__ in _PROCESS.looked_up for cls in types)


def _prepare(url: str, folder: Path | None, framing: Framing, types: Iterable[type[Message]] | None) -> None:
    with _PROCESS.lock:
        ids = _ids_of(url, folder)
        if framing == "fingerprint":
            return
        wanted = subjects(schema_files.published_types() if types is None else types)
        _write(ids, {subject: schema for subject, schema in wanted.items() if subject not in _PROCESS.looked_up})


def _ids_of(url: str, folder: Path | None) -> SchemaIds:
    shown = without_userinfo(url)
    if _PROCESS.ids is None:
        _PROCESS.ids = SchemaIds(Registry(url), SchemaFolder(folder or default_folder(), shown))
        _PROCESS.registry = shown
        avro.read_ids(_PROCESS.ids)
    elif shown != _PROCESS.registry:
        raise DependencyError(
            f"this process uses the schema registry {_PROCESS.registry} already, so it can't use {shown}: ids mean "
            "something in one registry only. Give both the same SCHEMA_REGISTRY_URL, or each a process of its own"
        )
    return _PROCESS.ids


def _write(ids: SchemaIds, schemas: Mapping[str, Schema]) -> None:
    found = ids.ids_of(schemas)
    for subject, schema_id in found.items():
        avro.frame(schemas[subject], schema_id)
    _PROCESS.looked_up.update(found)
    avro.write_ids(only=True)
