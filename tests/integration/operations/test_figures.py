"""What the figures cost: open sagas are counted from an index alone, and no scrape waits for it."""

import json
import threading
import time
from typing import Any

import psycopg
import pytest

from orchestrator.monitoring import database_watch, figures
from orchestrator.monitoring.database_watch import DatabaseWatch
from tests.deadlines import deadline, eventually
from tests.integration.engine.kit import System

SAGAS = 20_000
FILL = """
    INSERT INTO amends.sagas (id, uid, type, version, shard, status, input, input_hash, ended_at, parked_at)
    SELECT n::text, gen_random_uuid(), 't', 1, n %% 4, status, repeat('x', 500), '',
        CASE WHEN status = 'completed' THEN now() END, CASE WHEN status IN ('stuck', 'blocked') THEN now() END
    FROM generate_series(1, %s) AS n
    CROSS JOIN LATERAL (SELECT CASE
        WHEN n %% 100 = 0 THEN 'stuck' WHEN n %% 101 = 0 THEN 'blocked' WHEN n %% 10 = 0 THEN 'completed'
        ELSE 'running' END) AS s(status)
"""


@pytest.fixture
def full(system: System) -> System:
    with psycopg.connect(system.url, autocommit=True) as connection:
        connection.execute(FILL.encode(), (SAGAS,))
        connection.execute("VACUUM ANALYZE amends.sagas")
    return system


def nodes(plan: dict[str, Any]) -> list[tuple[str, str | None]]:
    below = [node for child in plan.get("Plans", []) for node in nodes(child)]
    return [(plan["Node Type"], plan.get("Index Name")), *below]


def test_open_sagas_are_counted_from_an_index_alone(full: System) -> None:
    with psycopg.connect(full.url, autocommit=True) as connection:
        found = connection.execute(f"EXPLAIN (FORMAT JSON) {figures._OPEN}", ([0, 1, 2, 3],)).fetchone()
        assert ("Index Only Scan", "sagas_open") in nodes(found[0][0]["Plan"]), json.dumps(found[0])
        parked = connection.execute(f"EXPLAIN (FORMAT JSON) {figures._PARKED}", (10_000,)).fetchone()
        assert "sagas_parked" in json.dumps(parked[0])
        at_work = dict(
            connection.execute("SELECT shard, count(*) FROM amends.sagas WHERE status = 'running' GROUP BY shard")
        )
        counted = figures.shards(connection, {**at_work, 0: at_work[0] - 7})
        assert sum(one.stuck for one in counted.values()) == SAGAS / 100
        assert [one.queued for _, one in sorted(counted.items())] == [7, 0, 0, 0]
        blocked = connection.execute("SELECT count(*) FROM amends.sagas WHERE status = 'blocked'").fetchone()
        assert sum(one.blocked for one in counted.values()) == blocked[0] > 0
        only = figures.shards(connection, {1: 0})
        assert list(only) == [1]  # whoever holds one shard counts the sagas of that one


def test_many_that_are_blocked_are_counted_up_to_a_limit(full: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad deploy blocks all at once: then the figures must still come, and none must be wrong."""
    monkeypatch.setattr(figures, "ROWS_COUNTED_MAX", 50)
    with psycopg.connect(full.url, autocommit=True) as connection:
        counted = figures.shards(connection, dict.fromkeys(range(4), 0))
    assert sum(one.stuck + one.blocked for one in counted.values()) == 50
    assert [one.queued for one in counted.values()] == [None] * 4


def test_a_look_that_takes_long_is_cut_off_and_comes_seldom(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_watch, "PING_S", 0.05)
    monkeypatch.setattr(database_watch, "FIGURES_EVERY_S", 0.1)
    looks: list[float] = []

    def slow(connection: psycopg.Connection[Any]) -> int:
        looks.append(time.monotonic())
        connection.execute("SELECT pg_sleep(%s)", (60 if len(looks) == 1 else 0.2,))
        return len(looks)

    watch = DatabaseWatch(system.url, slow)
    watch.start()
    try:
        eventually(lambda: watch.failures == 1, 20, "the statement timeout ended the first look")
        assert watch.figures is None
        assert watch.answers(time.monotonic())  # Postgres is there; it is only slow

        def looks_again() -> bool:
            if len(looks) == 1:
                watch._due_s = 0.0  # instead of the minutes that it rests now
            return watch.figures == 2

        eventually(looks_again, 20, "the second look")
        looked_s = looks[-1]
        eventually(lambda: len(looks) == 3, 60, "the third look")
        assert looks[-1] - looked_s >= 0.2 / database_watch.FIGURES_SHARE_MAX
    finally:
        watch.stop()


def test_a_database_that_is_away_is_asked_again(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_watch, "PING_S", 0.05)
    watch = DatabaseWatch(system.url, lambda _: threading.get_ident())
    watch.start()
    try:
        eventually(lambda: watch.figures, 20, "the first look")
        answered_s = watch.answered_s
        system.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'amends-figures' AND datname = current_database()"
        )
        eventually(lambda: watch.failures and watch.figures, deadline(20), "it looks again")
        assert watch.answered_s > answered_s
    finally:
        watch.stop()
