"""Arrays come back from Postgres as they were given."""

from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outbox_relay import arrays

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        arrays.register(connection)
        yield connection


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.none() | TEXTS | st.sampled_from(["NULL", "", '"', "\\", "{}", " ", "a,b", '\\"', "\u3000"])))
def test_texts(connection: psycopg.Connection, items: list[str | None]) -> None:
    assert connection.execute("SELECT %s::text[]", [items]).fetchone() == (items,)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)))
def test_numbers(connection: psycopg.Connection, items: list[int | None]) -> None:
    assert connection.execute("SELECT %s::bigint[]", [items]).fetchone() == (items,)


def test_other_lists_are_psycopgs(connection: psycopg.Connection) -> None:
    assert connection.execute("SELECT %s::boolean[], %s::int[]", [[True, None], [[1], [2]]]).fetchone() == (
        [True, None],
        [[1], [2]],
    )


def test_a_nul_is_refused_as_psycopg_refuses_it(connection: psycopg.Connection) -> None:
    with pytest.raises(psycopg.DataError, match="NUL"):
        connection.execute("SELECT %s::text[]", [["a\0b"]])
