"""What one snapshot shows, where a scan may begin, and when the stream may take over from the table."""

import itertools

import pytest

from outbox_relay.catching_up import CatchingUp
from outbox_relay.limits import FLOOR_MARK_S, FULL_SCAN_S, STREAM_LAG_BYTES_MAX
from outbox_relay.polling import Floor, Look
from outbox_relay.replication import Stream, Taken, Told
from outbox_relay.rows import StoredRow
from outbox_relay.snapshot import Snapshot


def snapshot(text: str) -> Snapshot:
    return Snapshot.parse(text)


def stored(seq: int, key: str = "k") -> StoredRow:
    return StoredRow(seq, b"id", "t", 0, key, b"T", b"", 0, ())


@pytest.mark.parametrize("era", [0, 1, 7])
def test_a_snapshot_shows_what_had_ended(era: int) -> None:
    base = (era << 32) + 1000
    it = snapshot(f"{base}:{base + 10}:{base},{base + 4}")
    shown = {xid: it.shows((base + xid) & 0xFFFFFFFF) for xid in range(-5, 15)}
    assert shown == {xid: xid < 10 and xid not in (0, 4) for xid in range(-5, 15)}


def test_a_snapshot_at_the_turn_of_the_32_bits() -> None:
    it = snapshot(f"{(1 << 32) - 2}:{(1 << 32) + 2}:{(1 << 32) - 2}")
    assert [it.shows(x & 0xFFFFFFFF) for x in range((1 << 32) - 3, (1 << 32) + 3)] == [
        True,
        False,
        True,
        True,
        True,
        False,
    ]


def test_nothing_runs() -> None:
    assert snapshot("5:5:") == Snapshot(5, 5, frozenset())


class Writers:
    """Transactions that take numbers and commit in any order, as the floor's rule has to bear it."""

    def __init__(self) -> None:
        self.next_xid, self.next_seq = 100, 1
        self.open: dict[int, list[int]] = {}
        self.pending: set[int] = set()
        self.ended = 99

    def begin(self) -> None:
        self.open[self.next_xid] = [self.next_seq]
        self.next_xid += 1
        self.next_seq += 1

    def commit(self, xid: int) -> None:
        self.pending |= set(self.open.pop(xid))
        self.ended = max(self.ended, xid)

    def snapshot(self) -> Snapshot:
        """As Postgres makes it: xmax is one past the highest id that has ended, not the next one to be given."""
        xmax = self.ended + 1
        running = frozenset(xid for xid in self.open if xid < xmax)
        return Snapshot(min(running, default=xmax), xmax, running)

    def mark(self) -> tuple[int, int]:
        last, xid = self.next_seq - 1, self.next_xid
        self.next_xid += 1
        self.ended = max(self.ended, xid)
        return last, xid


STEPS = 7


def play(order: tuple[str, ...]) -> None:
    """b: a writer begins and takes a number. c: the oldest commits, d: the newest. l: a look, and all it sees goes."""
    writers, floor, now = Writers(), Floor(), 0.0
    for step in order:
        now += FLOOR_MARK_S
        if step == "b":
            writers.begin()
        elif step == "l":
            if floor.wants_mark(now):
                floor.marked(*writers.mark(), now)
            floor.seen(writers.snapshot(), min(writers.pending, default=None))
            writers.pending.clear()
        elif writers.open:
            writers.commit(min(writers.open) if step == "c" else max(writers.open))
        may_appear = writers.pending.union(*writers.open.values(), [writers.next_seq])
        assert floor.value <= min(may_appear), order


def test_the_floor_is_never_above_a_row_that_may_still_appear() -> None:
    for order in itertools.product("blcd", repeat=STEPS):
        play(order)


def test_the_floor_rises_and_a_full_scan_comes_now_and_then() -> None:
    floor = Floor()
    assert floor.begin(100.0) == 0
    floor.marked(500, 10, 100.0)
    floor.seen(snapshot("9:10:9"), None)
    assert floor.value == 0
    floor.seen(snapshot("11:11:"), 300)
    assert floor.value == 300  # a row is on its way
    floor.seen(snapshot("11:11:"), None)
    assert floor.begin(101.0) == 501
    assert floor.begin(100.0 + FULL_SCAN_S) == 0
    floor.reset()
    assert floor.begin(100.1 + FULL_SCAN_S) == 0


def test_no_transaction_id_is_spent_while_no_rows_come() -> None:
    floor = Floor()
    assert floor.wants_mark(0.0)
    floor.marked(0, 10, 0.0)
    floor.seen(snapshot("11:11:"), None)
    assert not floor.wants_mark(1_000.0)
    floor.seen(snapshot("11:11:"), 1)
    assert floor.wants_mark(1_000.0)


def taken(*told: Told, position: int = 0, born_at: int = 0) -> Taken:
    return Taken(list(told), False, max((position, *(t.lsn for t in told))), True, born_at)


def look(shows: str, wal: int, *, more: bool = False) -> Look:
    return Look([], more, snapshot(shows), wal)


def test_the_stream_takes_over_after_a_look_that_showed_everything() -> None:
    it = CatchingUp()
    assert not it.may_stream()
    it.told(taken(Told(50, 7, ())))
    it.looked(look("6:9:", 60, more=True))
    assert not it.may_stream()
    it.looked(look("9:9:", 60))
    assert it.may_stream()
    assert it.confirmable == 50


def test_not_while_something_told_is_invisible() -> None:
    it = CatchingUp()
    it.told(taken(Told(40, 6, ()), Told(50, 7, ()), Told(55, 8, ())))
    it.looked(look("7:9:7", 60))
    assert not it.may_stream()
    assert it.confirmable == 40  # and 55 is not confirmed before 50
    assert it.owes_a_look
    it.looked(look("9:9:", 60))
    assert it.may_stream()
    assert it.confirmable == 55


def test_not_while_a_transaction_from_before_the_slots_birth_is_running() -> None:
    it = CatchingUp()
    it.told(taken(position=60, born_at=9))
    it.looked(look("7:9:7", 60))
    assert not it.may_stream()
    it.told(taken(position=60))
    it.looked(look("9:10:", 60))
    assert it.may_stream()


def test_not_while_the_stream_is_far_behind() -> None:
    it = CatchingUp()
    it.told(taken(position=1_000))
    it.looked(look("9:9:", 1_001 + STREAM_LAG_BYTES_MAX))
    assert not it.may_stream()
    it.told(taken(position=1_001))
    assert it.may_stream()


def test_what_the_look_showed_is_not_taken_again_and_the_rest_is() -> None:
    it = CatchingUp()
    it.looked(look("9:12:9", 60))
    old, running, later = Told(50, 8, (stored(1),)), Told(70, 9, (stored(2),)), Told(80, 13, (stored(3),))
    assert [it.new(told) for told in (old, running, later)] == [(), running.rows, later.rows]
    it.told(taken(later))
    it.passed()
    assert it.new(Told(90, 8, (stored(4),))) == (stored(4),)  # past the look: ids tell nothing any more


def test_whoever_takes_is_woken_once_for_all_that_is_told_until_then() -> None:
    woken: list[int] = []
    stream = Stream("postgresql://nowhere", "unit", lambda _session: None, lambda: woken.append(len(woken)))
    for lsn in (1, 2, 3):
        stream._told(Told(lsn, lsn, (stored(lsn),)), 1, shed=lsn == 2)
    assert len(woken) == 1
    assert [told.lsn for told in stream.take().told] == [1, 2, 3]
    stream._told(Told(4, 4, ()), 0, shed=False)  # taken is taken: the next one wakes again
    assert len(woken) == 2
    assert [told.lsn for told in stream.take().told] == [4]
