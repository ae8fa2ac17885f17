"""Who lives is judged by the observer's own clock, and only while the database answers promptly (B3)."""

from collections import Counter
from uuid import UUID, uuid4

from orchestrator import limits
from orchestrator.engine.shards import shares
from orchestrator.engine.workers import PROMPT_S, Census

A, B = UUID(int=1), UUID(int=2)
Row = tuple[UUID, int, bool, bool]


def seen(census: Census, rows: list[Row], now_s: float, *, took_s: float = 0.001, boot: str = "1") -> frozenset[UUID]:
    census.note(rows, boot, took_s=took_s, now_s=now_s)
    return census.alive(rows, now_s=now_s)


def test_a_worker_whose_session_ended_is_gone_at_once() -> None:
    census = Census()
    assert seen(census, [(A, 1, False, True)], 0.0) == {A}
    assert seen(census, [(A, 1, False, False)], 0.1) == frozenset()


def test_a_counter_that_stands_still_is_a_stopped_worker() -> None:
    census = Census()
    assert seen(census, [(A, 1, False, True), (B, 1, False, True)], 0.0) == {A, B}
    assert seen(census, [(A, 1, False, True), (B, 2, False, True)], limits.LEASE_S + 0.1) == {B}


def test_a_database_that_stalls_expires_nobody() -> None:
    census = Census()
    seen(census, [(A, 1, False, True)], 0.0)
    assert seen(census, [(A, 1, False, True)], limits.LEASE_S + 1, took_s=PROMPT_S * 2) == {A}


def test_after_a_restart_of_postgres_all_have_a_lease_to_come_back() -> None:
    census = Census()
    seen(census, [(A, 1, False, True)], 0.0)
    assert seen(census, [(A, 2, False, False)], 1.0, boot="2") == {A}
    assert seen(census, [(A, 3, False, False)], 1.1 + limits.LEASE_S, boot="2") == frozenset()


def test_shares_are_even_and_one_worker_more_moves_little() -> None:
    workers = frozenset(uuid4() for _ in range(4))
    before = shares(range(256), workers)
    assert sorted(Counter(before.values()).values()) == [64] * 4
    after = shares(range(256), workers | {uuid4()})
    assert max(Counter(after.values()).values()) == 52
    assert sum(before[shard] != after[shard] for shard in before) < 128
    assert shares(range(4), frozenset()) == {}
    assert len(set(shares(range(2), workers).values())) == 2
