"""`Client.list` on a real table: filters, pages that neither repeat nor leave out, and requests that end soon."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from orchestrator import limits
from orchestrator.client import Client, SyncClient, statements
from orchestrator.settings import Settings

ADD = """
    INSERT INTO amends.sagas (id, uid, type, version, shard, status, input, input_hash, started_at, ended_at, parked_at)
    SELECT format(%(id)s, n), gen_random_uuid(), %(type)s, 1, n %% 4, %(status)s, '{}', '', now() - %(age)s * n,
        CASE WHEN %(status)s = ANY ('{completed,failed,cancelled,terminated}') THEN now() END,
        CASE WHEN %(status)s = ANY ('{stuck,blocked}') THEN now() END
    FROM generate_series(1, %(count)s) AS n ORDER BY n
"""


def add(
    url: str, id: str, count: int = 1, *, status: str = "running", type: str = "checkout", age_s: float = 0
) -> None:
    """Sagas whose ids are made of their numbers; the nth is n times as old."""
    params = {"id": id, "count": count, "status": status, "type": type, "age": timedelta(seconds=age_s)}
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(ADD, params)


@pytest.fixture
def client(settings: Settings) -> Iterator[SyncClient]:
    with SyncClient(settings) as opened:
        yield opened


def ids(client: SyncClient, **filters: Any) -> list[str]:
    return [saga.id for saga in client.list(**filters).sagas]


def walked(client: SyncClient, **filters: Any) -> tuple[list[str], int]:
    """The ids of all pages, and how many pages there were."""
    found: list[str] = []
    cursor, pages = None, 0
    while True:
        page = client.list(cursor=cursor, **filters)
        found += [saga.id for saga in page.sagas]
        cursor, pages = page.next_cursor, pages + 1
        if cursor is None:
            return found, pages


def test_filters(client: SyncClient, database_url: str) -> None:
    add(database_url, "order-%s", 2)
    add(database_url, "dispatch-%s", type="dispatch", status="completed")
    add(database_url, "stuck-%s", status="stuck", age_s=7_200)
    add(database_url, "100%%_of-%s", status="failed", age_s=90)
    assert ids(client) == ["100%_of-1", "stuck-1", "dispatch-1", "order-2", "order-1"]
    assert ids(client, status="running") == ["order-2", "order-1"]
    assert ids(client, status="stuck") == ids(client, status=["stuck", "blocked"]) == ["stuck-1"]
    assert ids(client, status=["running", "stuck"]) == ["stuck-1", "order-2", "order-1"]
    assert ids(client, status=["running", "completed"]) == ["dispatch-1", "order-2", "order-1"]
    assert ids(client, type="dispatch") == ["dispatch-1"]
    assert ids(client, contains="der-") == ["order-2", "order-1"]
    assert ids(client, contains="%_o") == ["100%_of-1"], "LIKE's signs are letters"
    assert ids(client, contains="o_d") == []
    assert ids(client, older_than=timedelta(hours=1)) == ["stuck-1"]
    assert ids(client, older_than=60) == ["100%_of-1", "stuck-1"]
    assert ids(client, older_than=60, status="failed", type="checkout", contains="of") == ["100%_of-1"]
    assert client.list(status="cancelled").next_cursor is None


async def test_both_clients_answer_alike(settings: Settings, database_url: str) -> None:
    add(database_url, "order-%s", 3)
    async with Client(settings) as client:
        first = await client.list(rows_max=2)
        assert [saga.id for saga in first.sagas] == ["order-3", "order-2"]
        last = await client.list(rows_max=2, cursor=first.next_cursor)
    assert ([saga.id for saga in last.sagas], last.next_cursor) == (["order-1"], None)


@pytest.mark.parametrize("status", [None, "running", "stuck", "completed"])
def test_pages_neither_repeat_nor_leave_out_while_sagas_come(
    client: SyncClient, database_url: str, status: str | None
) -> None:
    add(database_url, "old-%s", 25, status=status or "running")
    there = {f"old-{n}" for n in range(1, 26)}
    found: list[str] = []
    cursor = None
    for n in range(30):
        page = client.list(status=status, cursor=cursor, rows_max=4)  # type: ignore[arg-type]
        found += [saga.id for saga in page.sagas]
        add(database_url, f"new-{n}-%s", 3, status=status or "running")
        if (cursor := page.next_cursor) is None:
            break
    assert sorted(found) == sorted(there)


@pytest.mark.parametrize("status", [None, "running", "stuck"])
def test_a_page_that_finds_little_ends_soon_and_is_gone_on_with(
    client: SyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch, status: str | None
) -> None:
    monkeypatch.setattr(limits, "LISTED_LOOKED_AT_MAX", 10)
    add(database_url, "rare-%s", 2, status=status or "completed")
    add(database_url, "order-%s", 40, status=status or "completed")
    add(database_url, "rare-too-%s", 3, status=status or "completed")
    first = client.list(status=status, contains="rare", rows_max=5)  # type: ignore[arg-type]
    assert [saga.id for saga in first.sagas] == ["rare-too-3", "rare-too-2", "rare-too-1"]
    second = client.list(status=status, contains="rare", rows_max=5, cursor=first.next_cursor)  # type: ignore[arg-type]
    assert second.sagas == ()
    found, pages = walked(client, status=status, contains="rare", rows_max=5)
    assert found == ["rare-too-3", "rare-too-2", "rare-too-1", "rare-2", "rare-1"]
    assert pages == 5


def test_what_has_not_ended_is_found_below_all_that_has(
    client: SyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LISTED_LOOKED_AT_MAX", 10)
    add(database_url, "open-%s", 3)
    add(database_url, "ended-%s", 100, status="completed")
    assert ids(client, status=["running", "queued"]) == ["open-3", "open-2", "open-1"]


def test_a_list_of_the_last_page_says_that_it_is(client: SyncClient, database_url: str) -> None:
    add(database_url, "order-%s", 4)
    first = client.list(rows_max=2)
    assert first.next_cursor is not None
    assert client.list(rows_max=2, cursor=first.next_cursor).next_cursor is None
    assert client.list(rows_max=4).next_cursor is None


@pytest.mark.parametrize("source", ["SELECT_PAGE", "SELECT_PAGE_OF_PARKED", "SELECT_PAGE_OF_OPEN"])
def test_no_list_reads_the_whole_table(database_url: str, source: str) -> None:
    add(database_url, "open-%s", 3_000)
    add(database_url, "ended-%s", 30_000, status="completed")
    params = {
        "statuses": None, "type": None, "contains": "nowhere", "older_than_s": None, "upto": 2**62,
        "looked_at_max": 100, "rows_max": 51,
    }  # fmt: skip
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ANALYZE amends.sagas")
        explained = connection.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + getattr(statements, source), params)
        [(plan,)] = explained.fetchall()
    read = sum(rows_read(json.loads(plan) if isinstance(plan, str) else plan))
    assert read <= 2 * (101 + 4), "each source is asked twice; the newest open saga is one of four shards"


def rows_read(plan: Any) -> Iterator[float]:
    """What the scans of the table gave and threw away."""
    if isinstance(plan, list):
        for one in plan:
            yield from rows_read(one)
    elif isinstance(plan, dict):
        if plan.get("Relation Name") == "sagas":
            yield (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
        for inner in ("Plan", "Plans"):
            yield from rows_read(plan.get(inner, []))
