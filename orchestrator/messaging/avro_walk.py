"""What one schema allows: a value before it is encoded, and bytes before they are decoded.

Both are compiled from the schema once, to nested functions, because every message passes here. fastavro alone would
write 1.5 into a long as 1, keep a NUL, and believe a block that says it holds 2^40 empty records.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator import limits
from orchestrator.errors import PayloadError

Json = Any
Schema = Any
Check = Callable[[Json, int], None]  # the value, and how deep it lies
Skip = Callable[[bytes, int, list[int], int], int]  # payload, position, [items left], depth -> position behind it

_FIXED_BYTES = {"null": 0, "boolean": 1, "double": 8}
_VARINT_BYTES_MAX = 10


class Unfit(Exception):
    """A value is not of its schema: `path` grows while this travels outwards."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.path: list[str] = []


class TooMuch(Exception):
    """Bytes that are no message of this schema, or one that is too large to decode."""


def check_value(check: Check, value: Json, what: str) -> None:
    """Raises PayloadError naming the field that does not fit."""
    try:
        check(value, 0)
    except Unfit as error:
        raise PayloadError(f"{what}{''.join(reversed(error.path))} {error.text}") from None


# ---- values ----------------------------------------------------------------------------------------------------------


def checker(schema: Schema, named: dict[str, Check] | None = None) -> Check:
    """A function that raises Unfit for a value which `schema` can't hold exactly."""
    named = {} if named is None else named
    if isinstance(schema, list):
        return _union_check([(branch, checker(branch, named)) for branch in schema])
    if isinstance(schema, str):
        # A name that is met again: its record is in `named` already, since a record comes before what is inside of it.
        return _SCALAR_CHECKS.get(schema) or named[schema]
    match schema["type"]:
        case "record":
            return _record_check(schema, named)
        case "array":
            return _array_check(checker(schema["items"], named))
        case "map":
            return _map_check(checker(schema["values"], named))
    return checker(schema["type"], named)


def _record_check(schema: Mapping[str, Any], named: dict[str, Check]) -> Check:
    fields: list[tuple[str, Check]] = []
    names = frozenset(field["name"] for field in schema["fields"])

    def check(value: Json, depth: int) -> None:
        if depth > limits.PAYLOAD_DEPTH_MAX:
            raise Unfit(f"is nested deeper than {limits.PAYLOAD_DEPTH_MAX}")
        if not isinstance(value, dict) or value.keys() != names:
            raise Unfit(_not_these_fields(value, names))
        for name, field in fields:
            try:
                field(value[name], depth + 1)
            except Unfit as error:
                error.path.append(f".{name}")
                raise

    named[schema["name"]] = check
    fields += [(field["name"], checker(field["type"], named)) for field in schema["fields"]]
    return check


def _not_these_fields(value: Json, names: frozenset[str]) -> str:
    if not isinstance(value, dict):
        return f"is {_type_of(value)}, not an object"
    missing, extra = sorted(names - value.keys()), sorted(map(str, value.keys() - names))
    return " and ".join(
        [f"has no {', '.join(missing)}"] * bool(missing) + [f"has {', '.join(extra)} too many"] * bool(extra)
    )


def _array_check(items: Check) -> Check:
    def check(value: Json, depth: int) -> None:
        if not isinstance(value, list):
            raise Unfit(f"is {_type_of(value)}, not a list")
        _check_count(value)
        for n, item in enumerate(value):
            try:
                items(item, depth + 1)
            except Unfit as error:
                error.path.append(f"[{n}]")
                raise

    return check


def _map_check(values: Check) -> Check:
    def check(value: Json, depth: int) -> None:
        if not isinstance(value, dict):
            raise Unfit(f"is {_type_of(value)}, not an object")
        _check_count(value)
        for key, item in value.items():
            try:
                _check_text(key, depth)
                values(item, depth + 1)
            except Unfit as error:
                error.path.append(f"[{key!r}]")
                raise

    return check


def _check_count(value: list[Json] | dict[str, Json]) -> None:
    if len(value) > limits.PAYLOAD_ITEMS_MAX:
        raise Unfit(f"has {len(value)} items, more than {limits.PAYLOAD_ITEMS_MAX}: send what is large by reference")


def _union_check(branches: list[tuple[Schema, Check]]) -> Check:
    def check(value: Json, depth: int) -> None:
        best: Unfit | None = None
        for schema, branch in branches:
            if schema == "null":
                if value is None:
                    return
                continue
            try:
                branch(value, depth)
            except Unfit as error:
                if best is None or _nearness(error) > _nearness(best):
                    best = error
            else:
                return
        raise best or Unfit(f"is {_type_of(value)}, not null")

    return check


def _nearness(error: Unfit) -> tuple[int, bool]:
    """Of the branches of a union the one that went furthest tells best what is wrong."""
    return len(error.path), error.text.startswith("has ")


def _check_text(value: Json, _depth: int) -> None:
    if not isinstance(value, str):
        raise Unfit(f"is {_type_of(value)}, not text")
    if "\x00" in value:
        raise Unfit("holds a NUL character, which Postgres can't store")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Unfit("holds half a surrogate pair, which is no text in UTF-8") from None


def _check_long(value: Json, _depth: int) -> None:
    if type(value) is not int:
        raise Unfit(f"is {_type_of(value)}, not a whole number")
    if not -(2**63) <= value < 2**63:
        raise Unfit("does not fit in 64 bits: use a str or a Decimal")


def _check_double(value: Json, _depth: int) -> None:
    if type(value) is int and abs(value) <= 2**53:
        return
    if type(value) is not float:
        raise Unfit(f"is {_type_of(value)}, not a number that a double can hold")
    if not math.isfinite(value):
        raise Unfit(f"is {value}, which is no number in JSON")


def _check_boolean(value: Json, _depth: int) -> None:
    if type(value) is not bool:
        raise Unfit(f"is {_type_of(value)}, not true or false")


def _check_null(value: Json, _depth: int) -> None:
    if value is not None:
        raise Unfit(f"is {_type_of(value)}, not null")


def _check_bytes(value: Json, _depth: int) -> None:
    if not isinstance(value, bytes):
        raise Unfit(f"is {_type_of(value)}, not bytes")


_SCALAR_CHECKS: dict[str, Check] = {
    "null": _check_null,
    "boolean": _check_boolean,
    "long": _check_long,
    "double": _check_double,
    "string": _check_text,
    "bytes": _check_bytes,  # in our own control messages only: JSON has none
}


def _type_of(value: Json) -> str:
    return {dict: "an object", list: "a list", str: "text", type(None): "null"}.get(type(value), type(value).__name__)


# ---- bytes -----------------------------------------------------------------------------------------------------------


def is_plain(schema: Schema) -> bool:
    """Its values can't cost much more than their bytes: no recursion, and every item of a list has a byte."""
    return _plain_size(schema, {}) is not None


def _plain_size(schema: Schema, named: dict[str, int | None]) -> int | None:
    """The fewest bytes of a value; None where `is_plain` is false."""
    if isinstance(schema, list):
        sizes = [_plain_size(branch, named) for branch in schema]
        return None if None in sizes else 1
    if isinstance(schema, str):
        return named[schema] if schema in named else _FIXED_BYTES.get(schema, 1)
    if schema["type"] in ("array", "map"):
        item = _plain_size(schema.get("items", schema.get("values")), named)
        # A map's item has its key, of one byte at least.
        return 1 if item or (item == 0 and schema["type"] == "map") else None
    if schema["type"] != "record":
        return _plain_size(schema["type"], named)
    named[schema["name"]] = None  # met again while it is open: recursive
    fields = [_plain_size(field["type"], named) for field in schema["fields"]]
    named[schema["name"]] = None if None in fields else sum(size for size in fields if size)
    return named[schema["name"]]


def skipper(schema: Schema, named: dict[str, Skip] | None = None) -> Skip:
    """A function that reads over one value, and raises TooMuch for what must not be decoded."""
    named = {} if named is None else named
    if isinstance(schema, list):
        return _union_skip([skipper(branch, named) for branch in schema])
    if isinstance(schema, str):
        return _scalar_skip(schema, named)
    match schema["type"]:
        case "record":
            return _record_skip(schema, named)
        case "array":
            return _blocks_skip(skipper(schema["items"], named))
        case "map":
            text, values = skipper("string"), skipper(schema["values"], named)
            return _blocks_skip(lambda data, at, left, depth: values(data, text(data, at, left, depth), left, depth))
    return skipper(schema["type"], named)


def _record_skip(schema: Mapping[str, Any], named: dict[str, Skip]) -> Skip:
    fields: list[Skip] = []

    def skip(data: bytes, at: int, left: list[int], depth: int) -> int:
        if depth > limits.PAYLOAD_DEPTH_MAX:
            raise TooMuch(f"nested deeper than {limits.PAYLOAD_DEPTH_MAX}")
        for field in fields:
            at = field(data, at, left, depth + 1)
        return at

    named[schema["name"]] = skip
    fields += [skipper(field["type"], named) for field in schema["fields"]]
    return skip


def _blocks_skip(item: Skip) -> Skip:
    def skip(data: bytes, at: int, left: list[int], depth: int) -> int:
        while True:
            count, at = _varint(data, at)
            if count == 0:
                return at
            if count < 0:  # then its size in bytes follows
                count, (_, at) = -count, _varint(data, at)
            left[0] -= count
            if left[0] < 0:
                raise TooMuch(f"more than {limits.PAYLOAD_ITEMS_MAX} items")
            for _ in range(count):
                at = item(data, at, left, depth + 1)

    return skip


def _union_skip(branches: list[Skip]) -> Skip:
    def skip(data: bytes, at: int, left: list[int], depth: int) -> int:
        index, at = _varint(data, at)
        if not 0 <= index < len(branches):
            raise TooMuch(f"branch {index} of a union of {len(branches)}")
        return branches[index](data, at, left, depth)

    return skip


def _scalar_skip(schema: str, named: dict[str, Skip]) -> Skip:
    if schema in _FIXED_BYTES:
        size = _FIXED_BYTES[schema]
        return lambda data, at, _left, _depth: _within(data, at + size)
    if schema == "long":
        return lambda data, at, _left, _depth: _varint(data, at)[1]
    if schema in ("string", "bytes"):
        return _text_skip
    return named[schema]


def _text_skip(data: bytes, at: int, _left: list[int], _depth: int) -> int:
    size, at = _varint(data, at)
    if size < 0:
        raise TooMuch(f"a text of {size} bytes")
    return _within(data, at + size)


def _within(data: bytes, at: int) -> int:
    if at > len(data):
        raise TooMuch(f"ends {at - len(data)} bytes too early")
    return at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    for byte in data[at : at + _VARINT_BYTES_MAX]:
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
    raise TooMuch("a number without an end")
