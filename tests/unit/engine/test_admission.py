"""Counting who is at work: pure, but for the look at those who are queued, which the tests of servers make."""

from orchestrator.engine.admission import Admission

SHARD, OTHER = 1, 2


def test_starts_of_one_batch_count_against_the_room_that_is_left() -> None:
    admission = Admission(at_work_max=3)
    admission.committed(SHARD, 1)
    assert [admission.admits(SHARD, begun) for begun in range(3)] == [True, True, False]
    assert admission.admits(OTHER, 2)


def test_nobody_overtakes_those_who_wait() -> None:
    admission = Admission(at_work_max=1)
    admission.committed(SHARD, 1)
    admission.turned_away(SHARD, 7)
    admission.committed(SHARD, -1)
    assert admission.has_room(SHARD, 0)
    assert not admission.admits(SHARD, 0)
    assert admission.admits(OTHER, 0)
