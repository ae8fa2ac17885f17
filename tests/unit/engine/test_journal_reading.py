"""What a journal holds is read as it was written, whichever of the two JSON readers and writers took it."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.entries import Json
from orchestrator.engine.journal import dumps, loads

NUMBERS = st.integers() | st.integers(min_value=2**63, max_value=10**200) | st.floats(allow_nan=False)
TEXTS = st.text(st.characters(exclude_categories=())) | st.sampled_from(["NaN", "-Infinity", "\x00", "\ud800", "…"])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
)


def same(one: Json, other: Json) -> bool:
    """Also where Python's `==` is content with less: 1, 1.0 and True, 0.0 and -0.0, the order of keys."""
    return repr(one) == repr(other)


@given(VALUES)
def test_what_was_written_is_read(value: Json) -> None:
    try:
        text = dumps(value)
    except ValueError:
        assert not_a_number_in(value)
        return
    assert same(loads(text), value)
    assert same(loads(text), json.loads(text))


def not_a_number_in(value: Json) -> bool:
    match value:
        case float():
            return not math.isfinite(value)
        case list():
            return any(map(not_a_number_in, value))
        case dict():
            return any(map(not_a_number_in, value.values()))
    return False


@given(VALUES)
def test_what_any_other_writer_of_json_wrote_is_read(value: Json) -> None:
    """A journal may be older than the way it is written now."""
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        assert same(loads(text), json.loads(text))


@pytest.mark.parametrize("depth", [10, 199, 200, 201, 250])
def test_lists_within_lists_are_read_however_deep(depth: int) -> None:
    value: Json = "innermost"
    for _ in range(depth):
        value = [value]
    assert same(loads(dumps(value)), value)


@pytest.mark.parametrize("text", ["", "[1,", '{"in": }', "[1] 2", '"\\ud83d'])
def test_what_is_no_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="line 1 column"):
        loads(text)
