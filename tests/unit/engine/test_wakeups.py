"""Which saga is woken when: the heap holds at most one wake-up a saga, and patience with a call begins anew."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.decisions import Timer
from orchestrator.engine.wakeups import STALE_MAX, Wakeups, patient_due_us

CHANGES = st.lists(st.tuples(st.integers(0, 5), st.none() | st.integers(0, 20)), max_size=40)


@given(CHANGES, st.integers(0, 20))
def test_only_the_latest_word_of_each_saga_counts(changes: list[tuple[int, int | None]], now_us: int) -> None:
    wakeups, latest = Wakeups(), dict[int, int]()
    for saga_no, due_us in changes:
        wakeups.set(saga_no, f"s{saga_no}", 0, due_us)
        if due_us is None:
            latest.pop(saga_no, None)
        else:
            latest[saga_no] = due_us
    assert wakeups.next_us() == min(latest.values(), default=None)
    due = wakeups.due(now_us, 100)
    assert {w.saga_no for w in due} == {n for n, due_us in latest.items() if due_us <= now_us}
    assert [w.due_us for w in due] == sorted(w.due_us for w in due)
    assert len(wakeups) == len(latest) - len(due)


def test_a_lost_shard_takes_its_wakeups_along() -> None:
    wakeups = Wakeups()
    wakeups.set(1, "a", 0, 10)
    wakeups.set(2, "b", 1, 5)
    wakeups.forget_shard(1)
    assert [w.saga_id for w in wakeups.due(100, 10)] == ["a"]


def test_patience_with_a_call_begins_again_at_the_floor_and_a_sleep_does_not() -> None:
    call = Timer(number=1, due_us=130, armed_us=100, seq=4)
    sleep = Timer(number=2, due_us=130, armed_us=100)
    assert patient_due_us(call, floor_us=500) == 530
    assert patient_due_us(sleep, floor_us=500) == 130
    assert patient_due_us(call, floor_us=90) == 130


def test_what_nobody_waits_for_any_more_does_not_pile_up() -> None:
    wakeups = Wakeups()
    for saga_no in range(3):
        wakeups.set(saga_no, f"s{saga_no}", 0, 10**9 + saga_no)
    for turn in range(3 * STALE_MAX):  # calls that are answered long before their minute is over
        wakeups.set(7, "busy", 0, 10**9 + 100 + turn)
    assert len(wakeups._heap) <= STALE_MAX + 2 * len(wakeups)
    assert [one.saga_no for one in wakeups.due(10**12, 10)] == [0, 1, 2, 7]
