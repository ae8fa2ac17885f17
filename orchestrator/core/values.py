"""Values on their way in and out: saga code only ever gets decode(encode(x)), live as on replay (rule 16).

JSON is pydantic's JSON mode. What can't be kept is refused here, in the turn, so that the error is the saga's and never
the batch's: NaN, NUL (Postgres has no place for it), lone surrogates, and what is too large.
"""

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pydantic_core
from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError

from orchestrator import limits
from orchestrator.contracts import Message
from orchestrator.core.entries import Json
from orchestrator.errors import DefinitionError, PayloadError

_PLAIN = (str, int, bool, type(None))


@lru_cache(4096)
def adapter(tp: Any) -> TypeAdapter[Any]:
    """Validates and dumps values of a type. Raises DefinitionError for a type that pydantic has no way with."""
    try:
        return TypeAdapter(tp)
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise DefinitionError(f"{_name(tp)} can't be kept as JSON: {str(error).splitlines()[0]}") from None


def encode(tp: Any, value: Any) -> bytes:
    """The JSON of a value. Raises PayloadError if it can't be kept."""
    try:
        data: bytes = adapter(tp).dump_json(value, warnings=False)
    except (pydantic_core.PydanticSerializationError, ValueError, TypeError) as error:
        raise PayloadError(f"a {type(value).__name__} can't be kept as {_name(tp)}: {error}") from None
    return _checked(data)


def to_json(tp: Any, value: Any) -> Json:
    """The JSON value, checked to come back as a `tp`. Raises PayloadError."""
    if type(value) is tp and tp in _PLAIN:
        return _checked_plain(value)
    data = encode(tp, value)
    decode_bytes(tp, data)
    return pydantic_core.from_json(data)


def message_json(message: Message) -> Json:
    """The same of a message, which was validated when it was made."""
    return pydantic_core.from_json(encode(type(message), message))


def decode(tp: Any, data: Json) -> Any:
    """A value of the type. Raises PayloadError if the JSON value is none."""
    if tp in _PLAIN and type(data) is tp:
        return data
    return decode_bytes(tp, _bytes_of(data))


def _bytes_of(data: Json) -> bytes:
    try:
        return pydantic_core.to_json(data)  # five times as fast as Python's own
    except pydantic_core.PydanticSerializationError:  # a lone surrogate, which whoever decodes shall refuse
        return json.dumps(data, ensure_ascii=False).encode("utf-8", "surrogatepass")


def decode_bytes(tp: Any, data: bytes) -> Any:
    """The same from bytes. In JSON mode, where a list may become a tuple and a string a date even when strict."""
    try:
        return adapter(tp).validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "value"
        raise PayloadError(f"this is no {_name(tp)}: {where}: {first['msg']}") from None


def anything(value: object) -> Json:
    """The JSON of a value of no declared type (`s.set`). Raises PayloadError."""
    try:
        data = pydantic_core.to_json(value, inf_nan_mode="constants")
    except (pydantic_core.PydanticSerializationError, ValueError, TypeError) as error:
        raise PayloadError(f"a {type(value).__name__} can't be kept as JSON: {error}") from None
    if b"NaN" in data or b"Infinity" in data:
        _refuse_nan(data)
    return pydantic_core.from_json(_checked(data))


@dataclass(frozen=True, slots=True)
class Signature:
    """What a step's function declares. `rest` is the type of `*args`; `result` is `Signature.empty` without one."""

    parameters: tuple[Any, ...]
    rest: Any
    result: Any

    def type_of(self, position: int, value: object) -> Any:
        """The declared type of an argument, else the type that it has."""
        declared = self.parameters[position] if position < len(self.parameters) else self.rest
        return type(value) if declared is inspect.Parameter.empty else declared


def signature(function: Callable[..., Any]) -> Signature:
    """The signature of a step's function; a bound method is known by its function."""
    bound = inspect.ismethod(function)
    return _signature(function.__func__ if bound else function, bound)  # type: ignore[attr-defined]


@lru_cache(4096)
def _signature(function: Callable[..., Any], bound: bool) -> Signature:
    try:
        found = inspect.signature(function, eval_str=True)
    except NameError as error:
        raise DefinitionError(f"{_name(function)}: an annotation can't be resolved: {error}") from None
    positional, rest = [], inspect.Parameter.empty
    for parameter in found.parameters.values():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            positional.append(parameter.annotation)
        elif parameter.kind is parameter.VAR_POSITIONAL:
            rest = parameter.annotation
    return Signature(tuple(positional[1:] if bound else positional), rest, found.return_annotation)


def result_json(function: Callable[..., Any], result: object) -> Json:
    """What the engine reports of a step that returned: its JSON by the function's return annotation.

    Without one it is None: a step is refused without, so it is an undo, whose result nobody reads. (Don't ask for the
    result of an undo at all: it may be annotated with what can't be kept.) Raises PayloadError: it ran, its result
    can't be kept.
    """
    declared = signature(function).result
    return None if declared is inspect.Signature.empty else to_json(declared, result)


def _checked(data: bytes) -> bytes:
    if len(data) > limits.PAYLOAD_BYTES_MAX:
        raise PayloadError(
            f"{len(data)} bytes of JSON, the limit is {limits.PAYLOAD_BYTES_MAX}: "
            f"keep large data elsewhere and send its name"
        )
    if b"\\u0000" in data and _has_nul(pydantic_core.from_json(data)):
        raise PayloadError("a text holds a NUL character, which Postgres can't store")
    return data


def _checked_plain(value: Json) -> Json:
    if isinstance(value, str):
        try:
            _checked(json.dumps(value).encode() if "\x00" in value else value.encode())
        except UnicodeEncodeError:
            raise PayloadError("a text holds a lone surrogate, which is no Unicode text") from None
    return value


def _has_nul(value: Json) -> bool:
    match value:
        case str():
            return "\x00" in value
        case list():
            return any(map(_has_nul, value))
        case dict():
            return any(_has_nul(key) or _has_nul(item) for key, item in value.items())
    return False


def _refuse_nan(data: bytes) -> None:
    def refuse(constant: str) -> None:
        raise PayloadError(f"{constant} can't be kept as JSON")

    json.loads(data, parse_constant=refuse)


def _name(tp: Any) -> str:
    return getattr(tp, "__qualname__", None) or repr(tp)
