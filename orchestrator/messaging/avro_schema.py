"""The Avro schema of a Python type, as far as its JSON form can be told from the type alone.

What travels is pydantic's JSON (`model_dump(mode="json")`) in Avro's binary form, so a Decimal, a date or a UUID is a
string here: exact, readable in the journal, and the same for every reader. A type whose JSON form does not come back
as the same value (a set has no order, an alias is another name, a custom serializer may do anything) is refused when
the class is declared, not when the first message of it is lost.
"""

import types
import typing
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from pathlib import PurePath
from typing import Any, Literal, NewType, cast
from uuid import UUID

import typing_extensions
from pydantic import AnyUrl, BaseModel, EmailStr, Json, PlainSerializer, TypeAdapter, WrapSerializer
from pydantic.errors import PydanticUndefinedAnnotation
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from orchestrator.contracts import Command, Event, Message, avro_name
from orchestrator.errors import DefinitionError, where_declared

Schema = Any  # a dict, a list (a union) or a name, as fastavro takes them

_SCALARS: dict[Any, str] = {
    None: "null",
    types.NoneType: "null",
    bool: "boolean",
    int: "long",
    float: "double",
    str: "string",
}
_TEXT: tuple[type, ...] = (
    *(Decimal, datetime, date, time, timedelta, UUID),
    *(IPv4Address, IPv6Address, PurePath, AnyUrl),
)
_ALIAS_TYPES: tuple[type, ...] = (typing_extensions.TypeAliasType,) + (
    (typing.TypeAliasType,) if hasattr(typing, "TypeAliasType") else ()
)
_BASES = (BaseModel, Message, Command, Event)
_EMPTY_FACTORIES: dict[Any, Any] = {list: [], tuple: [], dict: {}}
_HINT = (
    "what travels is made of str, int, float, bool, None, Decimal, dates and times, UUID, Enum, Literal, "
    "list, tuple, dict with text keys, unions of those, and Message classes"
)


class NotDeclaredYet(DefinitionError):
    """A forward reference of the type is still open: the class it names is declared further down."""


def schema_of(tp: Any) -> Schema:
    """The schema of a message class or of a reply type. Raises DefinitionError naming the field that can't travel."""
    return _Builder().schema(tp, _name_of(tp), base64=False)


class _Builder:
    """One schema. A record is written out where it is met first and named from then on, as Avro wants it."""

    def __init__(self) -> None:
        self.written: dict[str, type[BaseModel]] = {}

    def schema(self, tp: Any, where: str, *, base64: bool) -> Schema:
        tp = _unwrapped(tp, where)
        try:
            if tp in _SCALARS:
                return _SCALARS[tp]
        except TypeError:
            raise _refused(where, tp, _HINT) from None
        if isinstance(tp, type) and typing.get_origin(tp) is None:
            return self.of_class(tp, where, base64=base64)
        return self.of_form(tp, where, base64=base64)

    def of_class(self, tp: type, where: str, *, base64: bool) -> Schema:
        if issubclass(tp, Enum):
            return self.union([type(member.value) for member in tp], where)
        if issubclass(tp, BaseModel):
            return self.record(tp, where)
        if issubclass(tp, _TEXT) or tp is EmailStr:
            return "string"
        if tp is bytes and base64:
            return "string"
        if tp is bytes:
            raise _refused(where, tp, "put it into a field of a Message, which sends bytes as base64")
        if tp in (set, frozenset):
            raise _refused(where, tp, "a set has no order, so a replay would differ: use a list or a tuple")
        raise _refused(where, tp, _HINT)

    def of_form(self, tp: Any, where: str, *, base64: bool) -> Schema:
        """Unions, literals and containers."""
        origin, args = typing.get_origin(tp), typing.get_args(tp)
        if origin in (typing.Union, types.UnionType):
            return self.union(args, where, base64=base64)
        if origin is Literal:
            values = [value.value if isinstance(value, Enum) else value for value in args]
            return self.union([type(value) for value in values], where)
        if origin in (list, Sequence):
            return {"type": "array", "items": self.schema(args[0], where, base64=base64)}
        if origin is tuple:
            items = [arg for arg in args if arg is not ...]
            return {"type": "array", "items": self.union(items, where, base64=base64)}
        if origin in (dict, Mapping):
            self.text_key(args[0], where)
            return {"type": "map", "values": self.schema(args[1], where, base64=base64)}
        if origin in (set, frozenset):
            return self.of_class(origin, where, base64=base64)
        raise _refused(where, tp, _HINT)

    def text_key(self, tp: Any, where: str) -> None:
        """JSON's keys are text. Numbers and dates become text and come back; None and unions would not."""
        if self.schema(tp, where, base64=False) not in ("string", "long"):
            raise _refused(where, tp, "the keys of a dict must be text, whole numbers, dates or UUIDs")

    def union(self, members: Sequence[Any], where: str, *, base64: bool = False) -> Schema:
        """Without doubles (a date and a str are both strings), None first, whole numbers before floats."""
        branches: list[Schema] = []
        for member in members:
            schema = self.schema(member, where, base64=base64)
            branches += [b for b in (schema if isinstance(schema, list) else [schema]) if b not in branches]
        for kind in ("array", "map"):
            if sum(isinstance(branch, dict) and branch["type"] == kind for branch in branches) > 1:
                raise _refused(where, members, "Avro allows one list and one dict in a union: wrap them in Messages")
        branches.sort(key=lambda branch: {"null": 0, "long": 1}.get(branch, 2) if isinstance(branch, str) else 2)
        if not branches:
            raise _refused(where, members, _HINT)
        return branches[0] if len(branches) == 1 else branches

    def record(self, cls: type[BaseModel], where: str) -> Schema:
        if cls in _BASES:
            raise _refused(where, cls, "name the class that is meant: fields of a subclass would be lost")
        _check_model(cls)
        name = avro_name(cls)
        if (known := self.written.get(name)) is cls:
            return name
        if known is not None:
            raise DefinitionError(
                f"{where}: two classes are called {name} on the wire, {_name_of(known)} and {_name_of(cls)}: "
                f'pin another name for one of them: class {cls.__name__}(Message, name="…")'
            )
        self.written[name] = cls
        base64 = cls.model_config.get("ser_json_bytes") == cls.model_config.get("val_json_bytes") == "base64"
        fields = [self.field(cls, field, info, base64=base64) for field, info in cls.model_fields.items()]
        return {"type": "record", "name": name, "fields": fields}

    def field(self, cls: type[BaseModel], name: str, info: FieldInfo, *, base64: bool) -> dict[str, Any]:
        where = f"{_name_of(cls)}.{name}"
        _check_field(where, name, info)
        schema = self.schema(typing.Annotated[info.annotation, *info.metadata, None], where, base64=base64)
        out = {"name": name, "type": schema}
        if (default := _default(cls, name, info)) is not PydanticUndefined:
            out["default"] = default
            out["type"] = _default_first(schema, default)
        return out


def _unwrapped(tp: Any, where: str) -> Any:
    """Without Annotated, NewType and type aliases, which add nothing to the JSON form."""
    while True:
        if typing.get_origin(tp) is typing.Annotated:
            for meta in tp.__metadata__:
                if isinstance(meta, PlainSerializer | WrapSerializer | Json) or meta is Json:
                    raise _refused(where, tp, "with a serializer of its own nobody can tell its JSON form")
            tp = tp.__origin__
        elif isinstance(tp, NewType):
            tp = tp.__supertype__
        elif isinstance(tp, _ALIAS_TYPES):
            tp = cast("Any", tp).__value__
        elif isinstance(tp, typing.ForwardRef | str):
            raise NotDeclaredYet(f"{where}: {tp} is not declared (yet)")
        else:
            return tp


def _check_model(cls: type[BaseModel]) -> None:
    if not cls.__pydantic_complete__:
        try:
            cls.model_rebuild()
        except PydanticUndefinedAnnotation as error:
            raise NotDeclaredYet(f"{_name_of(cls)}: {error.message}") from error
    decorators = cls.__pydantic_decorators__
    for what, found in (
        ("field_serializer", decorators.field_serializers),
        ("model_serializer", decorators.model_serializers),
        ("computed_field", decorators.computed_fields),
    ):
        if found:
            raise DefinitionError(
                f"{where_declared(cls)}: {_name_of(cls)} has a {what} ({', '.join(found)}), so what is sent would not "
                "come back as it was: make it a method, or convert in the code that uses it"
            )
    if cls.__pydantic_root_model__ or cls.model_config.get("extra") == "allow":
        raise DefinitionError(
            f"{where_declared(cls)}: {_name_of(cls)} must have its fields named: no RootModel, no extra"
        )


def _check_field(where: str, name: str, info: FieldInfo) -> None:
    if info.alias or info.validation_alias or info.serialization_alias:
        raise DefinitionError(f"{where}: a field has one name, on the wire too: leave the alias out")
    if info.exclude:
        raise DefinitionError(f"{where}: a field that is excluded would be missing at the receiver")
    if not (name.isascii() and name.isidentifier()):
        raise DefinitionError(f"{where}: Avro knows fields of a-z, A-Z, 0-9 and _ only: rename {name!r}")


def _default(cls: type[BaseModel], name: str, info: FieldInfo) -> Any:
    """The JSON form of a default: readers of other languages fill it in for messages that are older than the field."""
    if info.default_factory is not None:
        # Any other factory may give another value each time, also on a replay.
        return _EMPTY_FACTORIES.get(info.default_factory, PydanticUndefined)
    if info.default is PydanticUndefined:
        return PydanticUndefined
    try:
        tp: Any = info.annotation
        adapter = TypeAdapter[Any](tp, config=None if _has_config(tp) else cls.model_config)
        return adapter.dump_python(adapter.validate_python(info.default), mode="json")
    except ValueError as error:
        raise DefinitionError(
            f"{_name_of(cls)}.{name}: the default {info.default!r} is not of its type: {error}"
        ) from error


def _has_config(tp: Any) -> bool:
    return isinstance(tp, type) and issubclass(tp, BaseModel)


def _default_first(schema: Schema, default: Any) -> Schema:
    """Avro takes a default for the first branch of a union."""
    if not isinstance(schema, list):
        return schema
    kinds: dict[type, str] = {type(None): "null", bool: "boolean", int: "long", float: "double", str: "string"}
    kinds |= {list: "array", dict: "map"}
    wanted = kinds[type(default)]

    def is_wanted(branch: Schema) -> bool:
        kind = branch["type"] if isinstance(branch, dict) else branch
        return bool(kind == wanted or (wanted == "map" and kind not in kinds.values()))

    return sorted(schema, key=lambda branch: not is_wanted(branch))


def _name_of(tp: Any) -> str:
    return f"{tp.__module__}.{tp.__qualname__}" if isinstance(tp, type) else str(tp)


def _refused(where: str, tp: Any, hint: str) -> DefinitionError:
    return DefinitionError(f"{where}: {tp} can't travel: {hint}")
