"""A shard's row, its owners, and a batch that is nothing but its fence."""

from typing import Any
from uuid import uuid4

import psycopg

from orchestrator.engine import fence
from orchestrator.engine.fence import Hold

SHARD = ("shard", "epoch", "owner", "batch_no", "next_offset")


def claimed(connection: psycopg.Connection[Any], shard: int = 0) -> Hold:
    """A new owner."""
    [epoch] = connection.execute("SELECT epoch FROM amends.shards WHERE shard = %s", (shard,)).fetchone()
    [hold] = fence.claim(connection, {shard: epoch}, uuid4())
    return hold


def commit(connection: psycopg.Connection[Any], *holds: Hold, next_offset: int) -> frozenset[int] | None:
    """A batch. None: it was committed, and the holds have advanced; else the shards that are still held."""
    params = fence.fence_params(list(holds), {hold.shard: next_offset for hold in holds})
    try:
        with connection.transaction():
            connection.execute(fence.FENCE, params)
    except psycopg.Error as error:
        lost = fence.shards_lost(error)
        if lost is None:
            raise
        return lost.held
    for hold in holds:
        hold.batch_no, hold.next_offset = hold.batch_no + 1, next_offset
    return None


def row(connection: psycopg.Connection[Any], shard: int = 0) -> tuple[Any, ...]:
    return connection.execute(
        "SELECT shard, epoch, owner, batch_no, next_offset FROM amends.shards WHERE shard = %s", (shard,)
    ).fetchone()


def put_back(connection: psycopg.Connection[Any], values: tuple[Any, ...]) -> None:
    """As a volume that was restored."""
    shard, epoch, owner, batch_no, next_offset = values
    connection.execute(
        "UPDATE amends.shards SET epoch = %s, owner = %s, batch_no = %s, next_offset = %s WHERE shard = %s",
        (epoch, owner, batch_no, next_offset, shard),
    )
