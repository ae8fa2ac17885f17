"""Migrating is repeatable, branch by branch, and what it prints is what it does."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from orchestrator.errors import DependencyError
from orchestrator.migrations import Part, migrate, migration_sql


@pytest.fixture(scope="session")
def database_template() -> None:
    """Empty databases: these tests migrate them themselves."""
    return


def ask(url: str, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(sql.encode()).fetchall()


def tables(url: str) -> set[object]:
    found = ask(url, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'amends'")
    return {name for (name,) in found}


@pytest.mark.parametrize(
    ("part", "there", "not_there"),
    [("outbox", "outbox", "sagas"), ("participant", "inbox", "sagas"), ("engine", "sagas", "inbox")],
)
def test_each_part_brings_its_tables_and_the_outbox(database_url: str, part: Part, there: str, not_there: str) -> None:
    migrate(database_url, parts=[part])
    assert {there, "outbox", "topics"} <= tables(database_url)
    assert not_there not in tables(database_url)


def test_migrating_again_changes_nothing_and_keeps_the_secret(database_url: str) -> None:
    migrate(database_url, shards=4, topic_prefix="shop.")
    before = ask(database_url, "SELECT * FROM amends.installation")
    migrate(database_url, topic_prefix="shop.")
    assert ask(database_url, "SELECT * FROM amends.installation") == before
    assert len(before[0][3]) == 32  # type: ignore[arg-type]
    assert ask(database_url, "SELECT shard FROM amends.shards ORDER BY shard") == [(0,), (1,), (2,), (3,)]
    assert ask(database_url, "SELECT topic, partitions FROM amends.topics") == [("shop.sagas", 4)]


def test_parts_may_come_one_after_the_other(database_url: str) -> None:
    for part in ("outbox", "engine", "participant"):
        migrate(database_url, parts=[part])
    assert {"outbox", "sagas", "inbox"} <= tables(database_url)


def test_shards_and_prefix_are_fixed_by_the_first_time(database_url: str) -> None:
    migrate(database_url, parts=["engine"], shards=4)
    with pytest.raises(DependencyError, match="has 4 shards, not 8"):
        migrate(database_url, parts=["engine"], shards=8)
    with pytest.raises(DependencyError, match=r"in topic sagas, not other\.sagas"):
        migrate(database_url, parts=["engine"], topic_prefix="other.")
    assert ask(database_url, "SELECT count(*) FROM amends.shards") == [(4,)]


def test_processes_that_migrate_at_once_do_it_one_after_the_other(database_url: str) -> None:
    with ThreadPoolExecutor(3) as threads:
        for future in [threads.submit(migrate, database_url, shards=2) for _ in range(3)]:
            future.result()
    assert ask(database_url, "SELECT count(*) FROM amends.shards") == [(2,)]


def test_a_migration_that_fails_leaves_nothing(database_url: str) -> None:
    with pytest.raises(DependencyError, match="no such part: enigne"):
        migrate(database_url, parts=["enigne"])  # type: ignore[list-item]
    with pytest.raises(DependencyError, match="1000000 partitions"):
        migrate(database_url, shards=1_000_000)
    assert tables(database_url) == set()


def test_the_printed_script_makes_the_same_tables(make_database: Callable[[], str]) -> None:
    by_hand, by_us = make_database(), make_database()
    with psycopg.connect(by_hand, autocommit=True) as connection:
        connection.execute(migration_sql().encode())
    migrate(by_us)
    columns = "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'amends'"
    assert sorted(ask(by_hand, columns)) == sorted(ask(by_us, columns))  # type: ignore[type-var]
    migrate(by_hand)  # Alembic's table was in the script too: it goes on from there.
    assert ask(by_hand, "SELECT count(*) FROM amends.shards") == [(8,)]


def test_an_unreachable_server_is_named_with_what_to_type() -> None:
    with pytest.raises(DependencyError, match=r"not reachable.*amends doctor"):
        migrate("postgresql://127.0.0.1:9/none")


def test_a_service_learns_of_the_sagas_topic_that_it_answers_to(
    make_database: Callable[[], str], kafka_bootstrap_servers: str, topic_prefix: str
) -> None:
    orchestrator, service = make_database(), make_database()
    for url, part, shards in ((orchestrator, "engine", 3), (service, "participant", None)):
        migrate(
            url,
            parts=[part],  # type: ignore[list-item]
            shards=shards,
            topic_prefix=topic_prefix,
            kafka_bootstrap_servers=kafka_bootstrap_servers,
        )
    with psycopg.connect(service) as connection:
        rows = connection.execute("SELECT topic, partitions FROM amends.topics").fetchall()
    assert rows == [(f"{topic_prefix}sagas", 3)]


def test_sagas_that_wait_for_a_person_are_found_after_the_upgrade(database_url: str) -> None:
    migrate(database_url, parts=["engine"])
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO amends.sagas (id, uid, type, version, shard, status, input, input_hash) "
            "VALUES ('s', gen_random_uuid(), 'order', 1, 0, 'stuck', 'null', ''), "
            "('r', gen_random_uuid(), 'order', 1, 0, 'running', 'null', '')"
        )
        # As the version before had it.
        connection.execute("ALTER TABLE amends.sagas DROP COLUMN parked_at")
        connection.execute("UPDATE amends.alembic_version SET version_num = 'engine_0001' WHERE version_num ~ 'engine'")
    migrate(database_url, parts=["engine"])
    assert ask(database_url, "SELECT id FROM amends.sagas WHERE parked_at IS NOT NULL") == [("s",)]
