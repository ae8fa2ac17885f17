"""`schemas/*.avsc`: the published contract, written from the classes and held against them.

A changed schema must read what was written before, because messages and journals outlive a deploy. Its former versions
stay in `former/`, by fingerprint: messages that are still on their way are decoded by them. The other direction is a
matter of order: deploy whoever receives a new field before whoever sends it.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.contracts import Command, Message, clashing_names, messages, reply_type
from orchestrator.errors import DefinitionError, clashing_failures
from orchestrator.messaging import avro
from orchestrator.messaging.avro_walk import Schema

FORMER = "former"


def write_schemas(directory: Path, types: Iterable[type[Message]]) -> list[Path]:
    """Write what is new or changed; the paths of those. Raises DefinitionError: a schema can't read what was sent."""
    wanted = schemas_of(types)
    problems = [problem for name, schema in wanted.items() for problem in _unreadable(directory, name, schema)]
    if problems:
        raise DefinitionError("\n".join(["the schemas are not compatible with what was sent before:", *problems]))
    return [path for name, schema in wanted.items() if (path := _write(directory, name, schema)) is not None]


def check_schemas(directory: Path, types: Iterable[type[Message]] | None = None) -> list[str]:
    """What is wrong between the files and the classes (None: all that are imported), one line each; [] is well."""
    wanted = schemas_of(published_types() if types is None else types)
    problems = [
        f"{name} is the name of several classes: {', '.join(places)}; pin another name for one of them"
        for name, places in clashing_names().items()
        if name in wanted
    ]
    if types is None:
        problems += [
            f"{name} is the name of several Failures: {', '.join(places)}; pin another by wire_name= for one of them"
            for name, places in clashing_failures().items()
        ]
    for name, schema in wanted.items():
        path = _path(directory, name)
        if not path.exists():
            problems.append(f"{path}: missing; type `amends schemas write` to write it")
        elif avro.read_schema(path) != schema:
            problems.append(f"{path}: differs from the class {name}; type `amends schemas write` to write it again")
        problems += _unreadable(directory, name, schema)
    return problems


def published_types() -> list[type[Message]]:
    """All imported message classes that can travel, by name. A Message that only lives in journals need not."""
    return [cls for _, cls in sorted(messages().items()) if _travels(cls)]


def schemas_of(types: Iterable[type[Message]]) -> dict[str, Schema]:
    """By file name: each class's schema, and the replies that have no name of their own (`str`, `list[Item]`)."""
    schemas: dict[str, Schema] = {}
    for cls in types:
        schemas[cls.__wire_name__] = avro.schema_of(cls)
        if not issubclass(cls, Command):
            continue
        reply = avro.schema_of(reply_type(cls))
        is_record = isinstance(reply, dict) and reply["type"] == "record"
        schemas[reply["name"] if is_record else f"{cls.__wire_name__}.reply"] = reply
    return schemas


def write_files(directory: Path, schemas: Mapping[str, Schema]) -> list[Path]:
    """Schemas that belong to no message class: those of `control`, for `schemas/amends`."""
    return [path for name, schema in schemas.items() if (path := _write(directory, name, schema)) is not None]


def incompatible(new: Schema, old: Schema) -> list[str]:
    """Why a message of `old` can't be read as `new`, one line each; [] when it can."""
    return list(_Comparison(new, old).compare(new, old, ""))


def _travels(cls: type[Message]) -> bool:
    try:
        avro.schema_of(cls)
    except DefinitionError:
        return False
    return True


def _unreadable(directory: Path, name: str, schema: Schema) -> Iterator[str]:
    for path in [_path(directory, name), *sorted((directory / FORMER).glob(f"{name}.????????????????.avsc"))]:
        if path.exists():
            yield from (f"{path}: {problem}" for problem in incompatible(schema, avro.read_schema(path)))


def _write(directory: Path, name: str, schema: Schema) -> Path | None:
    path = _path(directory, name)
    if path.exists():
        old = avro.read_schema(path)
        if old == schema:
            return None
        old_fingerprint, fingerprint = (avro.register(version).fingerprint.hex() for version in (old, schema))
        if old_fingerprint != fingerprint:  # a changed default is no other schema: both read the same bytes
            _replace(directory / FORMER / f"{name}.{old_fingerprint}.avsc", path.read_text(encoding="utf-8"))
    _replace(path, json.dumps(schema, indent=2, ensure_ascii=False) + "\n")
    return path


def _replace(path: Path, text: str) -> None:
    """A reader sees the old file or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _path(directory: Path, name: str) -> Path:
    return directory / f"{name}.avsc"


class _Comparison:
    """Walks two schemas side by side. Records that were compared once are not gone into again, so recursion ends."""

    def __init__(self, new: Schema, old: Schema) -> None:
        self._new_records, self._old_records = dict(_records(new)), dict(_records(old))
        self._compared: set[tuple[str, str]] = set()

    def compare(self, new: Schema, old: Schema, where: str) -> Iterator[str]:
        new, old = self._new_records.get(_key(new), new), self._old_records.get(_key(old), old)
        if isinstance(old, list):
            for branch in old:
                yield from self.compare(new, branch, where)
        elif isinstance(new, list):
            found = [list(self.compare(branch, old, where)) for branch in new]
            if [] not in found:
                # The branch of the same kind says it best; else any does.
                same_kind = [f for branch, f in zip(new, found, strict=True) if self._kind(branch) == self._kind(old)]
                yield from (same_kind or [[f"{where or 'it'} was {_shown(old)}, which it can't be any more"]])[0]
        elif self._kind(new) != self._kind(old):
            if (self._kind(old), self._kind(new)) != ("long", "double"):
                yield f"{where or 'it'} was {_shown(old)} and is {_shown(new)}"
        elif isinstance(new, dict):
            yield from self._compare_insides(new, old, where)

    def _compare_insides(self, new: Any, old: Any, where: str) -> Iterator[str]:
        if new["type"] == "array":
            yield from self.compare(new["items"], old["items"], f"{where}[]")
        elif new["type"] == "map":
            yield from self.compare(new["values"], old["values"], f"{where}{{}}")
        elif new["name"] != old["name"]:
            yield f"{where or 'it'} was {old['name']} and is {new['name']}: pin the old name by name="
        elif (new["name"], old["name"]) not in self._compared:
            self._compared.add((new["name"], old["name"]))
            yield from self._compare_fields(new, old)

    def _compare_fields(self, new: Any, old: Any) -> Iterator[str]:
        new_fields = {field["name"]: field for field in new["fields"]}
        old_fields = {field["name"]: field for field in old["fields"]}
        for name, field in new_fields.items():
            where = f"{new['name']}.{name}"
            if name in old_fields:
                yield from self.compare(field["type"], old_fields[name]["type"], where)
            elif "default" not in field:
                yield f"{where} is new and has no default, so older messages have no value for it"
        for name in old_fields.keys() - new_fields.keys():
            yield f"{new['name']}.{name} is gone, but older messages carry it: keep it, with a default"

    @staticmethod
    def _kind(schema: Schema) -> str:
        kind = schema["type"] if isinstance(schema, dict) else schema
        return kind if kind in _KINDS else "record"


_KINDS = ("null", "boolean", "long", "double", "string", "bytes", "array", "map")


def _key(schema: Schema) -> str:
    return schema if isinstance(schema, str) else ""


def _shown(schema: Schema) -> str:
    return str(schema.get("name", schema["type"])) if isinstance(schema, dict) else str(schema)


def _records(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """All records of a schema by name: inside, a name stands for a record that was written out before."""
    if isinstance(schema, list):
        for branch in schema:
            yield from _records(branch)
    elif isinstance(schema, dict):
        if schema["type"] == "record":
            yield schema["name"], schema
            for field in schema["fields"]:
                yield from _records(field["type"])
        else:
            yield from _records(schema.get("items", schema.get("values")))
