"""A bucket lets a burst through, then so many a second, and says when to come again."""

from orchestrator.api import limits
from orchestrator.api.buckets import Bucket, Buckets


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_burst_then_a_rate() -> None:
    clock = Clock()
    bucket = Bucket(limits.BURST_MAX, limits.RATE_PER_S, clock)
    assert [bucket.take() for _ in range(limits.BURST_MAX)] == [None] * limits.BURST_MAX
    assert bucket.take() == 1
    clock.now_s += 1
    taken = [bucket.take() for _ in range(int(limits.RATE_PER_S) + 1)]
    assert taken == [None] * int(limits.RATE_PER_S) + [1]


def test_it_is_never_fuller_than_a_burst() -> None:
    clock = Clock()
    bucket = Bucket(limits.BURST_MAX, limits.RATE_PER_S, clock)
    clock.now_s += 1e6
    assert sum(bucket.take() is None for _ in range(2 * limits.BURST_MAX)) == limits.BURST_MAX


def test_one_caller_does_not_empty_anothers() -> None:
    buckets = Buckets()
    while buckets.take("a") is None:
        pass
    assert buckets.take("b") is None
