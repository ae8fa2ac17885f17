"""Table shards: who may write for a shard, how far its topic was read, and whether a COMMIT without an answer happened.

Every batch begins with `amends.fence`: it locks the shards' rows and compares (epoch, owner, batch_no). The epoch alone
would do until a backup is restored, the owner's uuid until a volume is put back under a live process; batch_no tells
even that, since each commit raises it by one. A claim is one UPDATE: it waits for a batch that is just committing, so
what it reads is final.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import UUID, uuid4

import psycopg

from orchestrator import limits
from orchestrator.failpoints import failpoint

LOST_SQLSTATE = "AM001"

FENCE: LiteralString = "SELECT amends.fence(%s::int[], %s::bigint[], %s::uuid[], %s::bigint[], %s::bigint[])"
# The rows are locked in the order of their shards, as all who lock several do: two claimants can't wait for each other.
_CLAIM: LiteralString = """
    WITH before AS (
        SELECT s.shard, s.epoch, s.probing, s.probing_again, s.worker, seen.owner
        FROM amends.shards AS s
        JOIN unnest(%(shards)s::int[], %(epochs)s::bigint[], %(owners)s::uuid[]) AS seen(shard, epoch, owner)
            ON seen.shard = s.shard AND seen.epoch = s.epoch
        ORDER BY s.shard
        FOR NO KEY UPDATE OF s
    )
    UPDATE amends.shards AS s
    SET epoch = s.epoch + 1, owner = before.owner, worker = %(worker)s, claimed_at = clock_timestamp()
    FROM before
    WHERE s.shard = before.shard AND s.epoch = before.epoch
    RETURNING s.shard, s.epoch, s.owner, s.batch_no, s.next_offset, s.topic_id,
        (extract(epoch FROM s.claimed_at) * 1000000)::bigint, coalesce(before.probing, '{}'), before.probing_again,
        coalesce(before.worker <> %(worker)s, false)
"""
# Rare, so the lock that a NOTIFY takes at its COMMIT costs nothing; and the successor need not wait for its next look.
_RELEASE: LiteralString = """
    WITH released AS (
        UPDATE amends.shards AS s SET worker = NULL
        FROM unnest(%s::int[], %s::bigint[], %s::uuid[]) AS m(shard, epoch, owner)
        WHERE s.shard = m.shard AND s.epoch = m.epoch AND s.owner = m.owner
        RETURNING s.shard
    )
    SELECT pg_notify('amends_shards', '') FROM released
"""
_LOCK_TIMEOUT: LiteralString = "SELECT set_config('lock_timeout', %s, true)"
LISTEN: LiteralString = "LISTEN amends_shards"  # who does is told when a shard was given back
_SET_TOPIC: LiteralString = """
    UPDATE amends.shards SET topic_id = %s, next_offset = %s
    WHERE shard = %s AND epoch = %s AND owner = %s
"""
_SET_PROBING: LiteralString = """
    UPDATE amends.shards SET probing = %s::text[], probing_again = %s
    WHERE shard = %s AND epoch = %s AND owner = %s
"""
_OWNERS: LiteralString = "SELECT shard, epoch, worker FROM amends.shards ORDER BY shard"

# By a trigger each change of a shard's owner leaves a row there.
_TAKEOVERS: LiteralString = """
    SELECT (extract(epoch FROM at) * 1000000)::bigint, epoch, name FROM amends.takeovers
    WHERE shard = %s AND epoch <= %s
    ORDER BY epoch DESC, at DESC
    LIMIT %s
"""


@dataclass(slots=True)
class Hold:
    """A shard that is ours, and where we are in it. The one mutable thing here: `batch_no` and `next_offset` advance
    with each commit.
    """

    shard: int
    epoch: int
    owner: UUID
    batch_no: int
    next_offset: int
    topic_id: str | None
    claimed_us: int
    probing: tuple[str, ...] = ()
    probing_again: bool = False
    unclean: bool = False  # somebody before us did not give it back: its last turn may have been its death


@dataclass(frozen=True, slots=True)
class Owner:
    """What another look at the table told: the epoch seen is what a claim must still find."""

    shard: int
    epoch: int
    worker: UUID | None


class ShardsLost(Exception):
    """Some shards of a batch are not ours any more. `held` are: the rest of the batch may be written for them."""

    def __init__(self, held: frozenset[int]) -> None:
        super().__init__(f"still ours: {sorted(held)}")
        self.held = held


def claim(connection: psycopg.Connection[Any], seen: Mapping[int, int], worker: UUID) -> list[Hold]:
    """Take those of these shards whose epoch is still the one seen. Not taken: somebody was faster, or its row stayed
    locked.

    Opens its own transaction. A claim waits for a batch that is being committed, but not for a stopped process.
    """
    try:
        return _claim(connection, seen, worker)
    except psycopg.errors.LockNotAvailable:
        # One locked row must not keep the others from us.
        alone = [{shard: epoch} for shard, epoch in seen.items()] if len(seen) > 1 else []
        return [hold for one in alone for hold in claim(connection, one, worker)]


def _claim(connection: psycopg.Connection[Any], seen: Mapping[int, int], worker: UUID) -> list[Hold]:
    params = {"shards": list(seen), "epochs": list(seen.values()), "owners": [uuid4() for _ in seen], "worker": worker}
    with connection.pipeline(), connection.transaction():
        connection.execute(_LOCK_TIMEOUT, (f"{int(limits.CLAIM_LOCK_TIMEOUT_S * 1000)}ms",))
        rows = connection.execute(_CLAIM, params).fetchall()
        failpoint("engine.claim.before")
    failpoint("engine.claim.after")
    return [
        Hold(shard, epoch, owner, batch_no, next_offset, topic_id, claimed_us, tuple(probing), again, unclean)
        for shard, epoch, owner, batch_no, next_offset, topic_id, claimed_us, probing, again, unclean in sorted(rows)
    ]


def release(connection: psycopg.Connection[Any], holds: Sequence[Hold]) -> None:
    """Give shards back between two batches: nobody has to wait for a lease then."""
    failpoint("engine.release.before")
    connection.execute(_RELEASE, ([h.shard for h in holds], [h.epoch for h in holds], [h.owner for h in holds]))
    failpoint("engine.release.after")


def set_topic(connection: psycopg.Connection[Any], hold: Hold, topic_id: str, next_offset: int) -> None:
    """Note which topic `next_offset` counts in: a topic made anew under the same name skips messages silently."""
    failpoint("engine.topic.before")
    connection.execute(_SET_TOPIC, (topic_id, next_offset, hold.shard, hold.epoch, hold.owner))
    failpoint("engine.topic.after")
    hold.topic_id, hold.next_offset = topic_id, next_offset


def set_probing(connection: psycopg.Connection[Any], hold: Hold, saga_ids: Sequence[str], *, again: bool) -> None:
    """Committed before these sagas' turns: whoever finds it after a death knows whose turns they were. `again`: for
    the second time, an owner before was lost with them.
    """
    failpoint("engine.probing.before")
    connection.execute(_SET_PROBING, (list(saga_ids), again, hold.shard, hold.epoch, hold.owner))
    failpoint("engine.probing.after")
    hold.probing, hold.probing_again = tuple(saga_ids), again


def owners(connection: psycopg.Connection[Any]) -> list[Owner]:
    """Every shard and whose claim is the latest."""
    return [Owner(*row) for row in connection.execute(_OWNERS)]


def takeovers(
    connection: psycopg.Connection[Any], shard: int, until_epoch: int, rows_max: int
) -> list[tuple[int, int, str]]:
    """(microseconds, epoch, worker's name) of the latest changes of owner up to an epoch, the oldest first."""
    return connection.execute(_TAKEOVERS, (shard, until_epoch, rows_max)).fetchall()[::-1]


def fence_params(holds: list[Hold], next_offsets: dict[int, int]) -> tuple[list[Any], ...]:
    """The arrays for FENCE, in shard order."""
    ordered = sorted(holds, key=lambda hold: hold.shard)
    return (
        [h.shard for h in ordered],
        [h.epoch for h in ordered],
        [h.owner for h in ordered],
        [h.batch_no for h in ordered],
        [next_offsets.get(h.shard, h.next_offset) for h in ordered],
    )


def shards_lost(error: psycopg.Error) -> ShardsLost | None:
    """The fence's refusal, out of the driver's error."""
    if error.sqlstate != LOST_SQLSTATE:
        return None
    detail = (error.diag.message_detail or "{}").strip("{}")
    return ShardsLost(frozenset(int(shard) for shard in detail.split(",") if shard))
