"""What a batch leaves in the span queue: a row for each of its shards with turns, under its number and epoch."""

from uuid import uuid4

import psycopg

from orchestrator.engine import batch as batches
from orchestrator.engine import fence, journal
from orchestrator.engine.batch import Batch
from orchestrator.engine.installation import connect
from tests.integration.tracing.committed import insert_saga


def claimed(connection: psycopg.Connection, shards: list[int]) -> dict[int, fence.Hold]:
    epochs = {owner.shard: owner.epoch for owner in fence.owners(connection)}
    holds = fence.claim(connection, {shard: epochs[shard] for shard in shards}, uuid4())
    assert [hold.shard for hold in holds] == sorted(shards)
    return {hold.shard: hold for hold in holds}


def queued(connection: psycopg.Connection) -> list[tuple[object, ...]]:
    found = "SELECT shard, batch_no, epoch, saga_nos, positions FROM amends.span_queue ORDER BY batch_no, shard"
    return connection.execute(found).fetchall()


def test_turns_of_several_shards_and_ends_without_one(database_url: str) -> None:
    with connect(database_url, "queueing") as connection:
        with connection.cursor() as cursor:
            for saga_no, shard in ((1, 0), (2, 1), (3, 3), (4, 3)):
                insert_saga(cursor, saga_no, [], shard=shard)
        claimed(connection, [3])
        holds = claimed(connection, [0, 1, 2, 3])  # shard 3 twice: epochs differ
        batch = Batch()
        batch.of(3).turns = [journal.Row(3, pos, None, "[]") for pos in range(3)]
        batch.of(3).unseen_ends = [4]
        batch.of(2).next_offset = 7  # no turn: no row
        batch.of(1).turns = [journal.Row(2, 0, None, "[]")]
        batch.of(0).turns = [journal.Row(1, 0, None, "[]"), journal.Row(1, 1, None, "[]")]
        batches.commit(connection, batch, holds, lambda _: 1, spans=True)
        expected = [
            (0, 1, holds[0].epoch, [1, 1], [0, 1]),
            (1, 1, holds[1].epoch, [2], [0]),
            (3, 1, holds[3].epoch, [3, 3, 3, 4], [0, 1, 2, -1]),
        ]
        assert queued(connection) == expected
        assert holds[3].epoch == holds[0].epoch + 1

        second = Batch()
        second.of(1).turns = [journal.Row(2, 1, None, "[]")]
        batches.commit(connection, second, holds, lambda _: 1, spans=True)
        assert queued(connection)[3:] == [(1, 2, holds[1].epoch, [2], [1])]

        third = Batch()
        third.of(2).next_offset = 8
        batches.commit(connection, third, holds, lambda _: 1, spans=True)
        fourth = Batch()
        fourth.of(1).turns = [journal.Row(2, 2, None, "[]")]
        batches.commit(connection, fourth, holds, lambda _: 1, spans=False)
        assert len(queued(connection)) == 4
