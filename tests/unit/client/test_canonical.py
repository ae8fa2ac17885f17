"""The same input is the same text in every program; what a journal can't hold is refused before it is written."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.canonical import canonical_json, checked_note, checked_saga_id, input_hash
from orchestrator.errors import PayloadError, RequestError

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_it_says_the_same_value_and_saying_it_again_changes_nothing(value: object) -> None:
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text


@given(st.dictionaries(TEXT, VALUES, min_size=2, max_size=5), st.randoms())
def test_the_order_of_keys_does_not_matter(value: dict[str, object], random) -> None:
    items = list(value.items())
    random.shuffle(items)
    assert canonical_json(dict(items)) == canonical_json(value)


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), "\ud800", "a\x00", ["\x00"], {"\x00": 1}, object(), {1, 2}]
)
def test_what_a_journal_cant_hold_is_refused(value: object) -> None:
    with pytest.raises(PayloadError):
        canonical_json(value)


def test_what_only_looks_like_a_nul_is_kept() -> None:
    assert json.loads(canonical_json("\\u0000")) == "\\u0000"


def test_the_hash_tells_types_and_inputs_apart() -> None:
    hashes = {input_hash(*pair) for pair in [("a", "1"), ("a", "2"), ("b", "1"), ("a1", ""), ("", "a1")]}
    assert len(hashes) == 5


@pytest.mark.parametrize("good", ["order-7", "é", "x" * 200, "a b", "[1]", "日本"])
def test_ids_are_what_people_write(good: str) -> None:
    assert checked_saga_id(good) == good


@pytest.mark.parametrize("bad", ["", "x" * 201, "a\nb", "a\x00", "\ud800", "\x9f", 7])
def test_ids_that_would_break_a_key_a_column_or_a_table_are_refused(bad) -> None:
    with pytest.raises(RequestError, match="a saga's id"):
        checked_saga_id(bad)


def test_a_note_is_one_line() -> None:
    assert checked_note("refunded\n  by hand") == "refunded by hand"
