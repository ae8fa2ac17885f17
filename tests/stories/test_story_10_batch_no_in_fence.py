"""10, MONEY: a snapshot of the volume was put back under a live owner: same system id, timeline, epoch and uuid.

The fence compares batch_no too. An owner whose memory is ahead of the database is fenced off.
"""

import pytest

from tests.stories.shards import SHARD, claimed, commit, put_back, row


def test_an_owner_ahead_of_a_database_that_went_back_is_fenced_off(shards):
    owner = claimed(shards)
    commit(shards, owner, next_offset=3)
    snapshot = row(shards)
    commit(shards, owner, next_offset=5)
    put_back(shards, snapshot)
    assert commit(shards, owner, next_offset=7) == frozenset()
    assert row(shards) == snapshot
    after = claimed(shards)
    assert (after.next_offset, after.batch_no) == (3, snapshot[SHARD.index("batch_no")])
    assert commit(shards, after, next_offset=7) is None


@pytest.mark.parametrize("stale", ["epoch", "owner"])
def test_so_is_one_whose_claim_is_not_the_last(shards, stale):
    owner, snapshot = claimed(shards), row(shards)
    claimed(shards)
    if stale == "owner":  # A restored backup may bring an epoch a second time, but not a uuid.
        values = dict(zip(SHARD, row(shards), strict=True)) | {"epoch": snapshot[SHARD.index("epoch")]}
        put_back(shards, tuple(values.values()))
    assert commit(shards, owner, next_offset=3) == frozenset()
