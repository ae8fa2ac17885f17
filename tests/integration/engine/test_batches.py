"""A batch that has become large is committed as it is, and the rest of the work goes into another."""

import psycopg
import pytest

from orchestrator import Message, Saga, limits, saga
from orchestrator.engine.batch import Batch
from orchestrator.engine.turns import Start
from tests.rules.conftest import connection, engine_db
from tests.rules.inside import SHARD, Inside, committer, owner

__all__ = ["connection", "engine_db"]


class Paper(Message):
    text: str


@saga
async def reads_twice(s: Saga, _: int) -> int:
    return len((await s.receive(Paper)).text) + len((await s.receive(Paper)).text)


def test_it_is_cut_by_what_was_read_and_is_written(
    connection: psycopg.Connection, engine_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, written = Inside(reads_twice), list[Batch]()
    own = owner(inside, connection)
    work = committer(inside, own, engine_db, written.append)
    batch, ids = Batch(), [f"reader-{n:0{n + 1}}" for n in range(6)]
    for id in ids:
        row = inside.saga_row(reads_twice, 0, id)
        inside.turns.start(batch, Start(row), [], inside.raw(id))
    work._write(connection, batch)
    monkeypatch.setattr(limits, "BATCH_BYTES_MAX", 3_500)
    papers = [inside.message(id, Paper(text="x" * 1_000), f"{id} {n}") for n in range(2) for id in ids]
    work.commit(connection, [inside.item(row) for row in papers])
    sizes = [one.bytes for one in written[1:]]
    assert len(sizes) > 3
    assert all(size >= 3_500 for size in sizes[:-1])
    assert all(size < 3_500 + 2_500 for size in sizes)  # the last turn may be as large as it is
    ends = connection.execute("SELECT status, result FROM amends.sagas").fetchall()
    assert ends == [("completed", "2000")] * 6
    assert connection.execute("SELECT next_offset FROM amends.shards WHERE shard = %s", (SHARD,)).fetchone() == (13,)
    assert connection.execute("SELECT count(*) FROM amends.journal").fetchone() == (18,)


def test_it_is_cut_by_how_many_have_to_be_replayed_and_a_start_is_no_replay(
    connection: psycopg.Connection, engine_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, written = Inside(reads_twice), list[Batch]()
    work = committer(inside, owner(inside, connection), engine_db, written.append)
    monkeypatch.setattr(limits, "BATCH_REPLAYS_MAX", 2)
    ids = [f"reader-{n}" for n in range(5)]
    rows = [inside.saga_row(reads_twice, 0, id) for id in ids]
    work.commit(connection, [inside.item(inside.outbound.start_again(row)) for row in rows])
    assert [len(one.of(SHARD).created) for one in written] == [5]
    for id in ids:
        inside.cache.drop(id)
    papers = [inside.message(id, Paper(text="x"), id) for id in ids]
    work.commit(connection, [inside.item(row) for row in papers])
    assert [len(one.of(SHARD).turns) for one in written[1:]] == [2, 2, 1]
    assert connection.execute("SELECT count(*) FROM amends.journal").fetchone() == (10,)
