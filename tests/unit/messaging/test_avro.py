"""What a type's JSON form may be, that it comes back the same, and that bytes from anywhere do no harm."""

import itertools
import json
import tracemalloc
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from ipaddress import IPv4Address
from typing import Annotated, Any, Literal, NewType
from uuid import UUID

import pytest
from fastavro import parse_schema
from fastavro.schema import fingerprint, to_parsing_canonical_form
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import AnyUrl, BaseModel, Field, PlainSerializer, TypeAdapter, computed_field, create_model

from orchestrator import limits
from orchestrator.contracts import Command, Message
from orchestrator.errors import DefinitionError, PayloadError
from orchestrator.messaging import avro, control
from orchestrator.messaging.avro_walk import TooMuch, is_plain, skipper


class Colour(Enum):
    RED = "red"
    GREEN = "green"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


Sku = NewType("Sku", str)


class Point(Message):
    x: int
    y: float = 0.0


class Tree(Message):
    label: str
    children: "list[Tree]" = []
    parent: "Tree | None" = None


class Everything(Message):
    text: str
    whole: int
    real: float
    yes: bool
    nothing: None = None
    money: Decimal
    at: datetime
    day: date
    clock: time
    span: timedelta
    uid: UUID
    raw: bytes
    colour: Colour
    level: Level
    word: Literal["a", "b"]
    sku: Sku
    bounded: Annotated[int, Field(ge=0)]
    point: Point
    points: list[Point]
    pair: tuple[int, str]
    many: tuple[int, ...]
    named: dict[str, Point]
    by_number: dict[int, str]
    maybe: str | None = None
    either: int | str | Point | None = None
    address: IPv4Address = IPv4Address("127.0.0.1")


EVERYTHING = Everything(
    text="zwölf\u2028",
    whole=-(2**63),
    real=1.5,
    yes=True,
    money=Decimal("45.00"),
    at=datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
    day=date(2026, 1, 2),
    clock=time(1, 2, 3),
    span=timedelta(days=-1, microseconds=5),
    uid=UUID(int=5),
    raw=b"\x00\xff",
    colour=Colour.RED,
    level=Level.HIGH,
    word="a",
    sku=Sku("tea"),
    bounded=3,
    point=Point(x=1),
    points=[Point(x=2, y=3.5)],
    pair=(1, "one"),
    many=(1, 2),
    named={"a": Point(x=1)},
    by_number={7: "seven"},
    either=Point(x=9),
)


def json_form(tp, value):
    return TypeAdapter(tp).dump_python(value, mode="json")


def round_trip(tp, value):
    return TypeAdapter(tp).validate_python(avro.decode(avro.encode(tp, json_form(tp, value))))


def test_every_type_that_may_travel_comes_back():
    assert round_trip(Everything, EVERYTHING) == EVERYTHING


@pytest.mark.parametrize(
    ("tp", "value"),
    [
        (None, None),
        (str, ""),
        (bool, False),
        (list[Point], [Point(x=1)]),
        (Point | None, None),
        (Point | None, Point(x=1)),
        (dict[str, list[int]], {"a": [1, 2], "": []}),
        (int | float, 1.0),
        (AnyUrl, AnyUrl("http://a.example/")),
        (list[None], [None, None]),
    ],
)
def test_a_reply_may_be_any_of_them(tp, value):
    again = round_trip(tp, value)
    assert again == value
    assert type(again) is type(value)


def test_a_recursive_message():
    tree = Tree(label="root", children=[Tree(label="leaf", parent=Tree(label="up"))])
    assert round_trip(Tree, tree) == tree


def test_the_schema_is_what_others_read():
    assert avro.schema_of(Point) == {
        "type": "record",
        "name": "Point",
        "fields": [{"name": "x", "type": "long"}, {"name": "y", "type": "double", "default": 0.0}],
    }
    fields = {field["name"]: field for field in avro.schema_of(Everything)["fields"]}
    assert fields["maybe"] == {"name": "maybe", "type": ["null", "string"], "default": None}
    assert fields["points"]["type"] == {"type": "array", "items": "Point"}
    assert fields["address"] == {"name": "address", "type": "string", "default": "127.0.0.1"}


def test_a_default_stands_for_the_first_branch():
    class Nick(Message):
        name: str | None = "nobody"

    assert avro.schema_of(Nick)["fields"][0] == {"name": "name", "type": ["string", "null"], "default": "nobody"}


@pytest.mark.parametrize(
    ("schema", "published"),
    [
        # From Avro's own test data: CRC-64-AVRO of the parsing canonical form, as a signed long.
        ("null", 7195948357588979594),
        ("boolean", -6970731678124411036),
        ("long", -3434872931120570953),
        ("string", -8142146995180207161),
    ],
)
def test_the_mark_is_the_one_that_other_implementations_write(schema, published):
    assert avro.register(schema).mark == b"\xc3\x01" + published.to_bytes(8, "little", signed=True)


# ---- what is refused, and how it is named ----------------------------------------------------------------------------


def field_of(tp, **field):
    return create_model("Bad", __base__=Message, it=(tp, Field(**field) if field else ...))


class Opaque:
    pass


class WithExtra(BaseModel, extra="allow"):
    pass


class WithComputed(Message):
    @computed_field
    def twice(self) -> int:
        return 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: Any,
        lambda: object,
        lambda: set[str],
        lambda: frozenset[int],
        lambda: bytes,
        lambda: complex,
        lambda: list,
        lambda: list[Any],
        lambda: dict[str, Any],
        lambda: dict[None, int],
        lambda: list[int] | list[str],
        lambda: Message,
        lambda: BaseModel,
        lambda: WithExtra,
        lambda: WithComputed,
        lambda: Annotated[int, PlainSerializer(str)],
        lambda: field_of(set[int]),
        lambda: field_of(int, alias="other"),
        lambda: field_of(int, exclude=True),
    ],
)
def test_what_would_not_come_back_the_same_is_refused(make):
    with pytest.raises(DefinitionError):
        avro.schema_of(make())


def test_two_classes_of_one_name_in_one_message_are_refused():
    def other():
        class Point(Message):
            z: int

        return Point

    both = create_model("Both", __base__=Message, a=(Point, ...), b=(other(), ...))
    with pytest.raises(DefinitionError, match="two classes are called Point"):
        avro.schema_of(both)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"text": "a\x00b"}, r"Everything\.text holds a NUL"),
        ({"text": "\ud800"}, r"Everything\.text .*surrogate"),
        ({"named": {"a\x00": {"x": 1, "y": 0.0}}}, r"Everything\.named\['a\\x00'\]"),
        ({"points": [{"x": 1, "y": float("nan")}]}, r"Everything\.points\[0\]\.y is nan"),
        ({"points": [{"x": 2**63, "y": 1.0}]}, r"Everything\.points\[0\]\.x .*64 bits"),
        ({"real": float("inf")}, r"Everything\.real"),
        ({"whole": 1.5}, r"Everything\.whole is float"),
        ({"whole": True}, r"Everything\.whole is bool"),
        ({"yes": 1}, r"Everything\.yes"),
        ({"either": {"x": 1}}, r"Everything\.either has no y"),
        ({"either": 1.5}, r"Everything\.either"),
        ({"text": None}, r"Everything\.text is null"),
        ({"extra": 1}, r"extra too many"),
        ({"text": "x" * limits.PAYLOAD_BYTES_MAX}, r"bytes, more than"),
    ],
)
def test_a_value_that_cannot_travel_is_named_by_its_field(change, says):
    value = json_form(Everything, EVERYTHING) | change
    with pytest.raises(PayloadError, match=says):
        avro.encode(Everything, value)


def test_too_deep_is_refused_before_python_or_the_decoder_break():
    value: dict[str, Any] = {"label": "", "children": [], "parent": None}
    for _ in range(limits.PAYLOAD_DEPTH_MAX * 20):
        value = {"label": "", "children": [], "parent": value}
    with pytest.raises(PayloadError, match="nested deeper"):
        avro.encode(Tree, value)


# ---- properties ------------------------------------------------------------------------------------------------------

SCALARS = {
    str: st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20),
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    type(None): st.none(),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False, places=2),
    UUID: st.uuids(),
    datetime: st.datetimes(timezones=st.just(UTC)),
    date: st.dates(),
    timedelta: st.timedeltas(min_value=timedelta(days=-10_000), max_value=timedelta(days=10_000)),
    Colour: st.sampled_from(Colour),
    Level: st.sampled_from(Level),
    Point: st.builds(Point, x=st.integers(-5, 5), y=st.floats(-1, 1)),
}
TYPES = st.recursive(
    st.sampled_from(list(SCALARS)),
    lambda inner: st.one_of(
        inner.map(lambda tp: list[tp]),
        inner.map(lambda tp: dict[str, tp]),
        inner.map(lambda tp: tp | None),
        inner.map(lambda tp: tuple[tp, ...]),
    ),
    max_leaves=4,
)
_numbers = itertools.count()


@st.composite
def typed_values(draw):
    """A message class nobody has seen before, and a value of it."""
    types = draw(st.lists(TYPES, max_size=5))
    model = create_model(
        f"Generated{next(_numbers)}", __base__=Message, **{f"f{n}": (tp, ...) for n, tp in enumerate(types)}
    )
    return model, model(**{f"f{n}": draw(values_of(tp)) for n, tp in enumerate(types)})


def values_of(tp):
    if tp in SCALARS:
        return SCALARS[tp]
    origin, args = getattr(tp, "__origin__", None), getattr(tp, "__args__", ())
    if origin is list:
        return st.lists(values_of(args[0]), max_size=4)
    if origin is tuple:
        return st.lists(values_of(args[0]), max_size=4).map(tuple)
    if origin is dict:
        return st.dictionaries(SCALARS[str], values_of(args[1]), max_size=4)
    return st.one_of(*(values_of(arg) for arg in args))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(typed_values())
def test_whatever_a_message_is_made_of_it_comes_back(case):
    model, value = case
    payload = avro.encode(model, value.model_dump(mode="json"))
    decoded = avro.decode(payload)
    assert decoded == value.model_dump(mode="json")
    assert model.model_validate(decoded) == value
    assert avro.encode(model, decoded) == payload
    json.dumps(decoded, allow_nan=False)
    body = payload[10:]
    assert skipper(avro.schema_of(model))(body, 0, [limits.PAYLOAD_ITEMS_MAX], 0) == len(body)


@settings(max_examples=60, deadline=None)
@given(typed_values(), st.data())
def test_damaged_bytes_are_refused_or_are_another_value(case, data):
    model, value = case
    payload = bytearray(avro.encode(model, value.model_dump(mode="json")))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(payload)))
        payload[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    try:
        decoded = avro.decode(bytes(payload))
    except PayloadError:
        return
    json.dumps(decoded, allow_nan=False)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([Everything, Tree, Point, list[None], dict[str, str], str, None]), st.binary(max_size=200))
def test_bytes_of_anybody_raise_nothing_else(tp, body):
    codec = avro.codec_of(tp)
    try:
        avro.decode(codec.mark + body)
    except PayloadError:
        return


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=64))
def test_bytes_without_a_known_mark(payload):
    with pytest.raises(PayloadError):
        avro.decode(payload)


@pytest.mark.parametrize(
    "cls", [control.Start, control.Undo, control.Settled, control.ProblemRecord, control.ChildEnded]
)
@settings(max_examples=100, deadline=None)
@given(body=st.binary(max_size=100))
def test_control_messages_of_anybody_raise_nothing_else(cls, body):
    try:
        cls.decode(cls.codec.mark + body)
    except PayloadError:
        return


# ---- bombs -----------------------------------------------------------------------------------------------------------


class Empty(Message):
    pass


class Empties(Message):
    them: list[Empty]
    nones: list[None] = []
    maybe: dict[str, None] = {}


def varint(number):
    number = (number << 1) ^ (number >> 63)
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


BOMBS = {
    "2^40 empty records": (Empties, varint(2**40)),
    "the same, as a sized block": (Empties, varint(-(2**40)) + varint(0)),
    "2^62 nulls": (list[None], varint(2**62)),
    "a million nulls in small blocks": (list[None], (varint(1000) * 2000)),
    "the least long": (list[int], varint(-(2**63)) + varint(0)),
    "deep": (Tree, b"\x00\x00\x02" * 200_000),
    "half a million empty lists": (list[list[int]], varint(500_000) + bytes(500_001)),
    "a text of 2^40 bytes": (str, varint(2**40)),
    "a number without an end": (int, b"\xff" * 500_000),
    "too large": (str, varint(limits.MESSAGE_BYTES_MAX) + b"x" * limits.MESSAGE_BYTES_MAX),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_is_refused_and_costs_no_memory(bomb):
    tp, body = bomb
    payload = avro.codec_of(tp).mark + body
    tracemalloc.start()
    try:
        with pytest.raises(avro.Undecodable):
            avro.decode(payload)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_a_plain_schema_costs_little_even_where_it_is_not_walked():
    worst = varint(limits.PAYLOAD_UNWALKED_BYTES_MAX - 10) + bytes(limits.PAYLOAD_UNWALKED_BYTES_MAX)
    tracemalloc.start()
    try:
        with pytest.raises(avro.Undecodable):
            avro.decode(avro.codec_of(list[list[int]]).mark + worst[: limits.PAYLOAD_UNWALKED_BYTES_MAX])
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("tp", "plain"),
    [
        (Point, True),
        (list[int], True),
        (list[Point | None], True),
        (dict[str, None], True),
        (Everything, True),
        (list[None], False),
        (list[Empty], False),
        (Tree, False),
        (list[Tree], False),
    ],
)
def test_which_schemas_are_plain(tp, plain):
    assert is_plain(avro.schema_of(tp)) is plain


def test_the_walk_refuses_what_ends_too_early():
    with pytest.raises(TooMuch):
        skipper(avro.schema_of(Point))(b"\x02", 0, [10], 0)


@pytest.mark.parametrize(
    ("tp", "body", "why"),
    [
        (str, varint(-3) + b"abc", "a text of -3 bytes"),
        (int | str, varint(2) + varint(1), "branch 2"),
        (int | str, varint(-1) + varint(1), "branch -1"),
        (list[int], varint(limits.PAYLOAD_ITEMS_MAX + 1), "items"),
        (list[int], varint(-limits.PAYLOAD_ITEMS_MAX - 1) + varint(1), "items"),
    ],
)
def test_the_walk_refuses_what_the_decoder_would_take(tp, body, why):
    with pytest.raises(TooMuch, match=why):
        skipper(avro.schema_of(tp))(body, 0, [limits.PAYLOAD_ITEMS_MAX], 0)


def test_the_walk_goes_over_blocks_that_name_their_size():
    body = varint(-2) + varint(2) + varint(7) + varint(8) + varint(1) + varint(9) + varint(0)
    assert skipper(avro.schema_of(list[int]))(body, 0, [10], 0) == len(body)
    assert avro.decode(avro.codec_of(list[int]).mark + body) == [7, 8, 9]


@pytest.mark.parametrize(
    "cls", [control.Start, control.Undo, control.Settled, control.ProblemRecord, control.ChildEnded]
)
def test_a_message_of_another_kind_is_refused_by_its_name(cls):
    with pytest.raises(avro.Undecodable, match=f"Point where {cls.codec.name} is expected"):
        cls.decode(avro.encode(Point, {"x": 1, "y": 0.0}))


# ---- which schemas are known -----------------------------------------------------------------------------------------


def mark_of(schema):
    """Without making the schema known."""
    canonical = to_parsing_canonical_form(parse_schema(schema))
    return b"\xc3\x01" + bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))


def test_a_class_that_is_imported_later_is_found():
    class ComesLater(Message):
        n: int

    class AskLater(Command[list[ComesLater]], service="x"):
        pass

    assert avro.decode(mark_of(avro.schema_of(ComesLater)) + varint(1)) == {"n": 1}
    assert avro.decode(mark_of(avro.schema_of(list[ComesLater])) + varint(0)) == []


def test_a_file_makes_a_schema_known_also_one_that_is_added_later(tmp_path):
    schema = {"type": "record", "name": "OnlyInAFile", "fields": [{"name": "n", "type": "long"}]}
    mark = mark_of(schema)
    avro.use_schemas(tmp_path)
    with pytest.raises(avro.UnknownSchema, match=mark[2:].hex()):
        avro.decode(mark + varint(1))
    (tmp_path / "former").mkdir()
    (tmp_path / "former" / "OnlyInAFile.avsc").write_text(json.dumps(schema))
    assert avro.decode(mark + varint(1)) == {"n": 1}
    assert avro.type_name(mark) == "OnlyInAFile"
