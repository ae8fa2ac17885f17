"""A saga's row holds its input until the first turn, and from there on its journal does: whoever reads it finds it."""

import json
from collections.abc import Callable
from importlib.resources import files

import psycopg
import pytest

from orchestrator import Message, Saga, SyncClient, saga
from orchestrator.client import reading
from orchestrator.engine import journal, sagas
from orchestrator.engine.batch import Batch
from orchestrator.engine.turns import Start
from orchestrator.migrations import migrate
from orchestrator.settings import Settings
from tests import roles
from tests.rules.conftest import connection, engine_db
from tests.rules.inside import Inside, committer, owner

__all__ = ["connection", "engine_db"]

GIVEN = {"order_id": "7"}
INPUT = "SELECT input FROM amends.sagas WHERE id = %s"


class Word(Message):
    text: str


@saga
async def waits(s: Saga, _: int) -> str:
    return (await s.receive(Word)).text


@saga
async def ends_at_once(s: Saga, n: int) -> int:
    return n


@pytest.fixture
def as_before(make_database: Callable[[], str]) -> str:
    """A database of the version before: of four sagas one has not begun, one is blocked before its first turn."""
    url = make_database()
    migrate(url, parts=["engine"])
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "ALTER TABLE amends.sagas ALTER COLUMN input SET NOT NULL, ALTER COLUMN left_undone SET NOT NULL, "
            "ALTER COLUMN left_undone SET DEFAULT '{}'"
        )
        connection.execute(files("orchestrator.engine").joinpath("sql", "0002_indexes.sql").read_bytes())
        connection.execute("UPDATE amends.alembic_version SET version_num = 'engine_0002' WHERE version_num ~ 'engine'")
        for id, status in (("new", "queued"), ("unknown", "blocked"), ("old", "running"), ("over", "completed")):
            connection.execute(
                "INSERT INTO amends.sagas (id, uid, type, version, shard, status, input, input_hash, ended_at) "
                "VALUES (%s, gen_random_uuid(), 'order', 1, 0, %s, %s, '', %s)",
                (id, status, json.dumps(GIVEN), "2026-01-01" if status == "completed" else None),
            )
        for id in ("old", "over"):
            began(connection, id)
    return url


def began(connection: psycopg.Connection, id: str) -> None:
    """Its first turn."""
    connection.execute(
        "INSERT INTO amends.journal (saga_no, pos, body) SELECT saga_no, 0, %s FROM amends.sagas WHERE id = %s",
        (json.dumps([{"in": "started", "at": 1, "input": GIVEN}]), id),
    )


def move(connection: psycopg.Connection, id: str, before: str, after: str) -> str | None:
    """Change its status as a batch does; the input that its row has then."""
    (saga_no,) = connection.execute("SELECT saga_no FROM amends.sagas WHERE id = %s", (id,)).fetchone() or (0,)
    params = sagas.move_params([sagas.Move(saga_no=saga_no, before=before, after=after)])
    connection.execute(sagas.MOVE, params)
    ((kept,),) = connection.execute(INPUT, (id,)).fetchall()
    return kept


def test_after_an_upgrade_old_rows_and_new_ones_are_read_alike(as_before: str) -> None:
    migrate(as_before, parts=["engine"])
    with psycopg.connect(as_before, autocommit=True) as connection:
        rows = sagas.find(connection, ["new", "unknown", "old", "over"])
        assert {row.input for row in rows.values()} == {json.dumps(GIVEN)}
        began(connection, "new")
        assert move(connection, "new", "queued", "running") is None
        assert sagas.find(connection, ["new"])["new"].input is None
        assert journal.read(connection, [rows["new"].saga_no])[rows["new"].saga_no][0][0]["input"] == GIVEN
        for before, after in (("running", "compensating"), ("compensating", "failed")):
            assert move(connection, "old", before, after) == json.dumps(GIVEN)
            assert move(connection, "new", before, after) is None
        finishes = sagas.finishes(connection, [row.saga_no for row in rows.values()])
        assert {id: finish.left_undone for id, finish in finishes.items()} == {"new": (), "old": (), "over": ()}
    with SyncClient(Settings(database_url=as_before)) as client:  # type: ignore[arg-type]
        for id in ("new", "unknown", "old", "over"):
            record = client.request(reading.whole_record(id))
            assert (record.input, record.left_undone) == (GIVEN, ())


def test_an_orchestrator_goes_on_before_the_roles_are_granted_anew(as_before: str) -> None:
    roles.grant(as_before)
    worker = roles.role_name(roles.prefix(), "worker")
    with psycopg.connect(as_before, autocommit=True) as connection:
        connection.execute(f"REVOKE UPDATE (input) ON amends.sagas FROM {worker}".encode())  # as the version before
    migrate(as_before, parts=["engine"])
    with psycopg.connect(roles.as_role(as_before, "worker"), autocommit=True) as connection:
        assert move(connection, "new", "queued", "running") is None


@pytest.mark.parametrize("after", ["cancelled", "terminated", "blocked"])
def test_a_saga_that_never_began_keeps_its_input(as_before: str, after: str) -> None:
    migrate(as_before, parts=["engine"])
    with psycopg.connect(as_before, autocommit=True) as connection:
        assert move(connection, "new", "queued", after) == json.dumps(GIVEN)
        assert move(connection, "unknown", "blocked", "terminated") == json.dumps(GIVEN)
    with SyncClient(Settings(database_url=as_before)) as client:  # type: ignore[arg-type]
        assert client.request(reading.whole_record("new")).input == GIVEN


def test_an_input_that_is_null_is_null_in_the_journal_too(as_before: str) -> None:
    migrate(as_before, parts=["engine"])
    with psycopg.connect(as_before, autocommit=True) as connection:
        connection.execute(
            'INSERT INTO amends.journal (saga_no, pos, body) SELECT saga_no, 0, \'[{"in":"started","at":1}]\' '
            "FROM amends.sagas WHERE id = 'new'"
        )
        assert move(connection, "new", "queued", "running") is None
    with SyncClient(Settings(database_url=as_before)) as client:  # type: ignore[arg-type]
        assert client.request(reading.whole_record("new")).input is None


def test_a_row_that_is_new_with_its_first_turn_is_written_once(connection: psycopg.Connection, engine_db: str) -> None:
    inside, batch = Inside(waits, ends_at_once, at_work_max=1), Batch()
    work = committer(inside, owner(inside, connection), engine_db, lambda _batch: None)
    for kind, id in ((ends_at_once, "ended"), (waits, "running!"), (waits, "queued, for there is no room")):
        row = inside.saga_row(kind, 7, id)
        inside.turns.start(batch, Start(row), [], inside.raw(id))
    work._write(connection, batch)
    # The place in the page: a change of a row is another one.
    found = connection.execute("SELECT id, status, input, ctid::text FROM amends.sagas ORDER BY saga_no").fetchall()
    assert found == [
        ("ended", "completed", "7", "(0,4)"),
        ("running!", "running", None, "(0,2)"),
        ("queued, for there is no room", "queued", "7", "(0,3)"),
    ]
    saga_no = len("running!")
    assert journal.read(connection, [saga_no])[saga_no][0][0]["input"] == 7
