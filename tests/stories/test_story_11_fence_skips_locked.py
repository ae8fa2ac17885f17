"""11, STUCK: A was stopped and robbed; when it woke, its batch waited in the fence for a row that a stopped B held.

The fence locks with SKIP LOCKED: a row that somebody else holds is as good as lost, and A's other shards go on.
"""

import psycopg

from orchestrator.engine import fence
from tests.stories.shards import claimed, commit


def test_a_batch_does_not_wait_for_a_row_that_somebody_holds(shards):
    first, second = claimed(shards, 0), claimed(shards, 1)
    shards.execute("SET statement_timeout = '2s'")
    with psycopg.connect(shards.info.dsn) as stopped:
        stopped.execute("SELECT FROM amends.shards WHERE shard = 0 FOR NO KEY UPDATE")
        assert commit(shards, first, second, next_offset=3) == frozenset({1})
        assert commit(shards, second, next_offset=3) is None
    assert commit(shards, first, next_offset=3) is None


def test_a_claim_waits_no_longer_than_its_limit_and_takes_nothing(shards):
    before = claimed(shards)
    with psycopg.connect(shards.info.dsn) as stopped:
        stopped.execute("SELECT FROM amends.shards WHERE shard = 0 FOR NO KEY UPDATE")
        assert fence.claim(shards, {0: before.epoch}, before.owner) == []
    assert commit(shards, before, next_offset=3) is None


def test_a_claim_of_two_takes_the_one_that_nobody_holds(shards):
    first, second = claimed(shards, 0), claimed(shards, 1)
    with psycopg.connect(shards.info.dsn) as stopped:
        stopped.execute("SELECT FROM amends.shards WHERE shard = 0 FOR NO KEY UPDATE")
        [taken] = fence.claim(shards, {0: first.epoch, 1: second.epoch}, second.owner)
    assert (taken.shard, taken.epoch) == (1, second.epoch + 1)
    assert commit(shards, first, taken, next_offset=3) is None


def test_a_claim_of_two_leaves_the_one_that_somebody_took_meanwhile(shards):
    seen = {shard: claimed(shards, shard).epoch for shard in range(2)}
    faster = claimed(shards, 0)
    [taken] = fence.claim(shards, seen, faster.owner)
    assert (taken.shard, taken.epoch) == (1, seen[1] + 1)
    assert commit(shards, faster, taken, next_offset=3) is None
