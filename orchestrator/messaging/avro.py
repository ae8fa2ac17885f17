"""Avro single-object encoding: c3 01, the CRC-64-AVRO fingerprint of the writer's schema (little endian), the body.

The fingerprint says by which schema to read, so a reader needs no registry: it knows the schemas of the classes that it
has imported, those of `schemas/*.avsc`, and their former versions beside them. What comes out is the writer's JSON;
pydantic then makes it a value of the class at hand, filling in the defaults of fields that are younger than it.

With a registry, Confluent's wire format stands before the same body: 00 and the schema's id (4 bytes, big endian). Both
are read whatever is written, so that a fleet is moved over one process at a time. Nothing here asks a registry: see
`framing` and `schema_ids`.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.schema import SchemaParseException, fingerprint, to_parsing_canonical_form

from orchestrator import limits
from orchestrator.contracts import Command, messages, reply_type
from orchestrator.errors import DefinitionError, DependencyError, PayloadError
from orchestrator.messaging import avro_schema
from orchestrator.messaging.avro_walk import Check, Json, Schema, Skip, TooMuch, check_value, checker, is_plain, skipper

_MAGIC = b"\xc3\x01"
_MARK_BYTES = 10
_BY_ID_MAGIC = b"\x00"
_BY_ID_BYTES = 5


class Undecodable(PayloadError):
    """These bytes are no message of the schema that they name."""


class UnknownSchema(PayloadError):
    """Nobody here knows the schema that these bytes name."""


class SchemaPending(DependencyError):
    """The registry has not said yet what this id stands for. Read the message again later; it is not undecodable."""

    def __init__(self, schema_id: int) -> None:
        super().__init__(f"schema {schema_id} is not known here yet: the schema registry is being asked")
        self.schema_id = schema_id


@dataclass(slots=True)
class Codec:
    """All that one schema needs, prepared once. `mark`, which `encode` writes, becomes the registry's id: `frame`."""

    name: str
    schema: Schema  # parsed by fastavro
    fingerprint: bytes
    mark: bytes
    check: Check
    skip: Skip
    plain: bool

    def encode(self, value: Json) -> bytes:
        """Raises PayloadError naming the field that can't travel."""
        check_value(self.check, value, self.name)
        out = io.BytesIO()
        out.write(self.mark)
        try:
            schemaless_writer(out, self.schema, value, strict=True, disable_tuple_notation=True)
        except (ValueError, TypeError) as error:  # a union of records that fits in no single branch
            raise PayloadError(f"{self.name}: {error}") from error
        return out.getvalue()

    def decode(self, body: bytes) -> Json:
        """Raises Undecodable. Nothing is allocated before the bytes have been found to be worth it."""
        try:
            if not self.plain or len(body) > limits.PAYLOAD_UNWALKED_BYTES_MAX:
                self.skip(body, 0, [limits.PAYLOAD_ITEMS_MAX], 0)
            source = io.BytesIO(body)
            value = schemaless_reader(source, self.schema, None)
            rest = len(body) - source.tell()
        except TooMuch as error:
            raise Undecodable(f"{self.name}: {error}") from None
        except Exception as error:
            # Bytes from anywhere raise what they like in a decoder: EOFError, IndexError, OverflowError, UnicodeError.
            raise Undecodable(f"{self.name}: {type(error).__name__}: {error}") from error
        if rest:
            raise Undecodable(f"{self.name}: {rest} bytes too many")
        try:
            check_value(self.check, value, self.name)
        except PayloadError as error:
            raise Undecodable(str(error)) from None
        return value


class IdSource(Protocol):
    """Who knows the ids of a registry; both return at once."""

    def ready(self, schema_id: int) -> bool: ...
    def codec(self, schema_id: int) -> Codec: ...


_BY_TYPE: dict[Any, Codec] = {}
_BY_MARK: dict[bytes, Codec] = {}
_SCANNED: set[Any] = set()
_DIRECTORIES: dict[Path, int] = {}  # -> when it last changed, as far as it was read
_ids: IdSource | None = None
_only_ids = False


def schema_of(tp: Any) -> Schema:
    """The Avro schema of a message class or a reply type. Raises DefinitionError naming the field that can't travel."""
    return avro_schema.schema_of(tp)


def encode(tp: Any, value: Json) -> bytes:
    """`value` is the JSON form (`model_dump(mode="json")`). Raises PayloadError, naming the field or the size."""
    codec = codec_of(tp)
    payload = codec.encode(value)
    if len(payload) > limits.PAYLOAD_BYTES_MAX:
        raise PayloadError(
            f"{codec.name}: {len(payload)} bytes, more than the {limits.PAYLOAD_BYTES_MAX} that Kafka takes together "
            "with a reply: store what is large elsewhere and send its name"
        )
    return payload


def decode(payload: bytes) -> Json:
    """The JSON form, by the schema that the payload names. Raises Undecodable or UnknownSchema."""
    if len(payload) > limits.MESSAGE_BYTES_MAX:
        raise Undecodable(f"{len(payload)} bytes, more than {limits.MESSAGE_BYTES_MAX}")
    if payload[:2] != _MAGIC or len(payload) < _MARK_BYTES:
        return _by_id(payload).decode(payload[_BY_ID_BYTES:])
    codec = _BY_MARK.get(payload[:_MARK_BYTES]) or _found(payload[:_MARK_BYTES])
    return codec.decode(payload[_MARK_BYTES:])


def type_name(payload: bytes) -> str:
    """The name of the schema that the payload names: for people. Raises as `decode`."""
    if payload[:2] != _MAGIC:
        return _by_id(payload).name
    return (_BY_MARK.get(payload[:_MARK_BYTES]) or _found(payload[:_MARK_BYTES])).name


def unframed(payload: bytes) -> bytes:
    """The body alone: two payloads of one type that say the same may name their schema in two ways."""
    return payload[_MARK_BYTES:] if payload[:2] == _MAGIC else payload[_BY_ID_BYTES:]


def is_readable(payload: bytes) -> bool:
    """False while the registry is asked about the payload's own id; ids within it show when they are decoded."""
    return payload[:1] != _BY_ID_MAGIC or len(payload) < _BY_ID_BYTES or knows(id_in(payload))


def knows(schema_id: int) -> bool:
    """False while the registry is asked about this id."""
    return _ids is None or _ids.ready(schema_id)


def has_registry() -> bool:
    """Whether ids are read here at all."""
    return _ids is not None


def read_ids(source: IdSource | None) -> None:
    """From now on, ask `source` what an id stands for; None: ids are unknown schemas."""
    global _ids  # noqa: PLW0603
    _ids = source


def write_ids(*, only: bool) -> None:
    """With `only`, a type whose id `frame` has not been told can't be written; without, all write fingerprints."""
    global _only_ids  # noqa: PLW0603
    _only_ids = only
    _BY_TYPE.clear()
    if not only:
        for mark, codec in _BY_MARK.items():
            codec.mark = mark


def frame(schema: Schema, schema_id: int) -> None:
    """Write this schema's messages under the registry's id."""
    register(schema).mark = _BY_ID_MAGIC + schema_id.to_bytes(_BY_ID_BYTES - 1, "big")


def codec_of(tp: Any) -> Codec:
    """The codec of a message class or a reply type; made at the first use. Raises DefinitionError.

    Raises PayloadError where ids are written and this type's is not known.
    """
    codec = _BY_TYPE.get(tp)
    if codec is None:
        codec = register(avro_schema.schema_of(tp))
        if _only_ids and not is_framed(codec):
            raise PayloadError(
                f"{codec.name}: its id was not looked up in the schema registry when this process began. Import the "
                "module that declares it together with the app, and register it: amends schemas register MODULE:APP"
            )
        _BY_TYPE[tp] = codec
    return codec


def is_framed(codec: Codec) -> bool:
    """Whether its messages name the registry's id."""
    return codec.mark[:1] == _BY_ID_MAGIC


def register(schema: Schema) -> Codec:
    """Make a schema known to `decode`. Raises DefinitionError for what is no schema."""
    try:
        parsed = parse_schema(schema)
    except (SchemaParseException, KeyError, TypeError, ValueError) as error:
        raise DefinitionError(f"no Avro schema: {error}: {json.dumps(schema)[:200]}") from error
    # fastavro gives the fingerprint's bytes in the order in which they are sent, so they are not turned around here.
    found = bytes.fromhex(fingerprint(to_parsing_canonical_form(parsed), "CRC-64-AVRO"))
    mark = _MAGIC + found
    if mark not in _BY_MARK:
        walked = cast("Schema", schema)
        _BY_MARK[mark] = Codec(_name(schema), parsed, found, mark, checker(walked), skipper(walked), is_plain(walked))
    return _BY_MARK[mark]


def use_schemas(directory: Path) -> None:
    """Let `decode` know the .avsc files of a directory and its folders, also those that are added to it later."""
    _DIRECTORIES.setdefault(directory, -1)


def _by_id(payload: bytes) -> Codec:
    if payload[:1] != _BY_ID_MAGIC or len(payload) < _BY_ID_BYTES:
        began = payload[:10].hex(" ") or "nothing"
        raise Undecodable(f"does not begin with c3 01 and a fingerprint, nor with 00 and an id, but with {began}")
    if _ids is None:
        raise UnknownSchema(
            f"schema {id_in(payload)} of a schema registry: this process has none to ask; set SCHEMA_REGISTRY_URL"
        )
    return _ids.codec(id_in(payload))


def id_in(payload: bytes) -> int:
    """The registry's id of a payload that begins with 00."""
    return int.from_bytes(payload[1:_BY_ID_BYTES], "big")


def _found(mark: bytes) -> Codec:
    """A class imported since, or a file. A message of an unknown schema costs two looks: classes, then directories."""
    _scan_classes()
    if mark not in _BY_MARK:
        _scan_directories()
    if mark not in _BY_MARK:
        raise UnknownSchema(
            f"schema {mark[2:].hex()} is not known: import its class, or put its .avsc into the schemas directory "
            "(AMENDS_SCHEMAS_DIR)"
        )
    return _BY_MARK[mark]


def _scan_classes() -> None:
    for cls in messages().values():
        if cls in _SCANNED:
            continue
        _SCANNED.add(cls)
        for tp in [cls, reply_type(cls)] if issubclass(cls, Command) else [cls]:
            try:
                register(avro_schema.schema_of(tp))
            except DefinitionError:
                # A Message that only lives in journals need not have a schema; whoever sends it is told.
                continue


def _scan_directories() -> None:
    for directory, read_ns in list(_DIRECTORIES.items()):
        files = sorted(directory.rglob("*.avsc"))
        changed_ns = max((path.stat().st_mtime_ns for path in files), default=-1)
        if changed_ns <= read_ns:
            continue
        for path in files:
            register(read_schema(path))
        _DIRECTORIES[directory] = changed_ns


def read_schema(path: Path) -> Schema:
    """One .avsc file. Raises DependencyError naming it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DependencyError(f"{path}: not a readable .avsc file: {error}") from error


def _name(schema: Schema) -> str:
    if isinstance(schema, Mapping):
        namespace = f"{schema['namespace']}." if schema.get("namespace") else ""
        return f"{namespace}{schema['name']}" if "name" in schema else str(schema["type"])
    return schema if isinstance(schema, str) else "union"
