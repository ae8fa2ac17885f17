"""A cursor is opaque, and taken only for the list that gave it."""

import base64
import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import limits
from orchestrator.client.listing import Filters, checked, cursor_of, page, place_of
from orchestrator.client.reading import NEWEST
from orchestrator.errors import RequestError

NONE = Filters()


@given(st.integers(0, NEWEST), st.text(max_size=20))
def test_a_cursor_leads_back_to_its_place(next_no: int, contains: str) -> None:
    filters = Filters(contains=contains)
    cursor = cursor_of(next_no, filters)
    assert place_of(cursor, filters) == next_no
    assert cursor.replace("-", "").replace("_", "").isalnum()


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "é", "%", "W10", "order-7", encoded([]), encoded({}), encoded(7), encoded([7]), encoded("ab"),
     encoded(["7", "x"]), encoded([True, "x"]), encoded([-1, "x"]), encoded([NEWEST + 1, "x"]), encoded([1.5, "x"]),
     "[" * 100_000, base64.b64encode(b"[" * 100_000).decode()],
)  # fmt: skip
def test_what_is_no_cursor_is_said(cursor: str) -> None:
    with pytest.raises(RequestError, match="is no cursor of a list of sagas"):
        place_of(cursor, NONE)


@given(st.text(max_size=60))
def test_any_text_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(RequestError, match="cursor"):
        place_of(text, NONE)


@pytest.mark.parametrize(
    "other",
    [Filters(("running",)), Filters(type="checkout"), Filters(contains="a"), Filters(older_than_s=1.0)],
)
def test_a_cursor_of_other_filters_is_refused(other: Filters) -> None:
    with pytest.raises(RequestError, match="belongs to a list with other filters"):
        place_of(cursor_of(7, NONE), other)


def test_statuses_in_another_order_are_the_same_list() -> None:
    assert checked(["running", "stuck"], None, "", None) == checked(("stuck", "running", "stuck"), None, "", None)
    assert checked("running", None, "", None).statuses == ("running",)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"status": "happy"}, "happy: no status"),
        ({"status": ["running", "happy"]}, "happy: no status"),
        ({"type": ""}, "a saga's type can't be empty"),
        ({"contains": "a\x00"}, "can't hold the character"),
        ({"older_than": timedelta(seconds=-1)}, "older_than is 0 s to"),
        ({"older_than": float("nan")}, "older_than is 0 s to"),
        ({"older_than": float("inf")}, "older_than is 0 s to"),
        ({"rows_max": 0}, "a page has 1 to 1000 rows, not 0"),
        ({"rows_max": limits.LISTED_MAX + 1}, "rows"),
        ({"cursor": "x"}, "no cursor"),
    ],
)
def test_what_cant_be_asked_is_refused_before_the_database_is(arguments: Any, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        next(page(**arguments))
