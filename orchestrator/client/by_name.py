"""Sagas and messages by the names that people and programs without our classes know them by, their values as JSON."""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from orchestrator.canonical import checked_name
from orchestrator.client.requests import adapter, encoded_input
from orchestrator.contracts import message_named
from orchestrator.errors import PayloadError, RequestError
from orchestrator.messaging import avro, framing
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from orchestrator.core.saga_type import SagaType


def input_by_code(
    sagas: "Iterable[SagaType[Any, Any]]", where: str, type_name: str, version: int | None, value: Any
) -> tuple[int, str]:
    """The version and the canonical input by the saga's own code. `where` names the app in errors.

    Raises RequestError for a saga that is not among them, PayloadError for what is no input of it.
    """
    fitting = [saga for saga in sagas if saga.name == type_name and version in (None, saga.version)]
    if not fitting:
        raise RequestError(f"{where} has no saga {type_name}{f' version {version}' if version else ''}")
    saga = max(fitting, key=lambda found: found.version)
    try:
        decoded = adapter(saga.input_type).validate_json(json.dumps(value))
    except ValueError as error:
        raise PayloadError(f"this is no input for {type_name}: {error}") from None
    return saga.version, encoded_input(saga.input_type, decoded)


def encoded_by_name(type_name: str, value: Any, settings: Settings) -> bytes:
    """A message's bytes, by its class if it is imported, else by its schema file. BLOCKS: it may ask the registry.

    Raises RequestError for a message that nobody knows, PayloadError for fields that are not its.
    """
    if (cls := message_named(checked_name("a message's type", type_name))) is not None:
        try:
            checked = cls.model_validate_json(json.dumps(value))
        except ValueError as error:
            raise PayloadError(f"this is no {type_name}: {error}") from None
        framing.prepare(settings, [cls])
        return avro.encode(cls, checked.model_dump(mode="json"))
    path = settings.schemas_dir / f"{type_name}.avsc"
    if path.parent != settings.schemas_dir or not path.is_file():
        raise RequestError(
            f"no message {type_name} is known: say where its class is (--app shop.app:app) or where its schema is "
            f"(AMENDS_SCHEMAS_DIR; there is no {path})"
        )
    schema = avro.read_schema(path)
    framing.prepare_schema(settings, type_name, schema)
    return avro.register(schema).encode(value)
