"""A batch's lists come back from Postgres as they were given."""

from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outbox_relay import arrays

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
ODD = st.sampled_from(["NULL", "", '"', '","', "\\", "{}", " ", "a,b", '\\"', "\u3000"])
BLOBS = st.lists(st.none() | st.binary())
SETTINGS = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        arrays.register(connection)
        yield connection


@settings(SETTINGS, max_examples=300)
@given(st.lists(TEXTS | ODD) | st.lists(st.none() | TEXTS | ODD) | st.lists(st.none()))
def test_texts(connection: psycopg.Connection, items: list[str | None]) -> None:
    assert connection.execute("SELECT %s::text[]", [items]).fetchone() == (items,)


@settings(SETTINGS, max_examples=200)
@given(BLOBS, BLOBS)
def test_bytes(connection: psycopg.Connection, items: list[bytes | None], others: list[bytes | None]) -> None:
    assert connection.execute("SELECT %b::bytea[], %b::bytea[]", [items, others]).fetchone() == (items, others)


@settings(SETTINGS, max_examples=100)
@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)))
def test_numbers(connection: psycopg.Connection, items: list[int | None]) -> None:
    assert connection.execute("SELECT %s::bigint[]", [items]).fetchone() == (items,)


def test_other_lists_are_psycopgs(connection: psycopg.Connection) -> None:
    now = datetime.now(UTC)
    values = [[True, None], [1, None, -2], [now, None], [["a"], ["b"]], [[b"a"], [b"b"]]]
    casts = "%s::boolean[], %s::int[], %s::timestamptz[], %s::text[], %b::bytea[]"
    assert connection.execute(f"SELECT {casts}", values).fetchone() == tuple(values)


def test_a_nul_is_refused_as_psycopg_refuses_it(connection: psycopg.Connection) -> None:
    with pytest.raises(psycopg.DataError, match="NUL"):
        connection.execute("SELECT %s::text[]", [["a\0b"]])
