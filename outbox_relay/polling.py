"""Source 1: the table itself, in the order of seq, from a floor that is safe.

Never from the last number seen: a smaller one may commit later. The floor only saves the walk over the dead versions
of rows that are gone, which an old snapshot elsewhere (a backup, a report) keeps alive: 150 to 190 ms a look without
it, 0.5 ms with it.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass

from outbox_relay import table
from outbox_relay.failpoints import failpoint
from outbox_relay.limits import FLOOR_MARK_S, FULL_SCAN_S, SCAN_BYTES_MAX
from outbox_relay.postgres import Session
from outbox_relay.rows import StoredRow
from outbox_relay.snapshot import Snapshot

BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


@dataclass(frozen=True, slots=True)
class Look:
    """Rows that one snapshot showed; `more`: it showed further ones. All that it shows was committed before `wal`."""

    rows: list[StoredRow]
    more: bool
    snapshot: Snapshot
    wal: int


@dataclass(slots=True)
class Floor:
    """The smallest seq that may still appear.

    Numbers up to M were taken by transactions that began before X. Once every transaction before X has ended, and no
    row up to M is pending, none will come. A number may be taken a moment before its transaction has an id; so every
    few seconds the whole table is scanned. Times are monotonic seconds.
    """

    value: int = 0
    mark: tuple[int, int] | None = None  # M and X
    _rows_came: bool = True
    _mark_at: float = 0.0
    _full_at: float = 0.0

    def begin(self, now: float) -> int:
        """Return where to scan from."""
        if now < self._full_at + FULL_SCAN_S:
            return self.value
        self._full_at = now
        return 0

    def wants_mark(self, now: float) -> bool:
        """Tell whether it is time for a new M and X: never while no rows come."""
        return self.mark is None and self._rows_came and now >= self._mark_at

    def marked(self, last_seq: int, xid: int, now: float) -> None:
        """Take in M, and X as assigned after M was read."""
        self._mark_at, self._rows_came = now + FLOOR_MARK_S, False
        self.mark = (last_seq, xid)

    def seen(self, snapshot: Snapshot, pending: int | None) -> None:
        """Learn from a look: `pending` is the smallest seq that it showed or that is on its way, if any."""
        self._rows_came = self._rows_came or pending is not None
        if self.mark is None or snapshot.xmin < self.mark[1]:
            return
        free = self.mark[0] + 1
        self.value = max(self.value, free if pending is None else min(free, pending))
        if self.value >= free:
            self.mark = None

    def reset(self) -> None:
        """Begin again: rows were put back under old numbers."""
        self.value, self.mark, self._rows_came = 0, None, True


class TableReader:
    """Looks at the outbox, one short read-only transaction a look."""

    def __init__(self, session: Session) -> None:
        self.floor = Floor()
        self._session = session

    def look(self, known: Collection[int], rows_max: int) -> Look:
        """Read up to `rows_max` rows that are not `known`."""
        failpoint("relay.look.before")
        now = time.monotonic()
        if self.floor.wants_mark(now):
            [(last_seq, xid)] = self._session.execute(table.MARK).fetchall()
            self.floor.marked(last_seq, xid, now)
        start = self.floor.begin(now)
        with self._session.pipeline(), self._session.cursor() as at, self._session.cursor(binary=True) as scan:
            self._session.execute(BEGIN)
            at.execute(table.LOOK)
            scan.execute(table.SCAN, (start, list(known), rows_max, SCAN_BYTES_MAX))
            self._session.execute("COMMIT")
            [(snapshot_text, wal)] = at.fetchall()
            found = scan.fetchall()
        failpoint("relay.look.after")
        snapshot = Snapshot.parse(snapshot_text)
        rows = [table.stored(values) for values in found]
        self.floor.seen(snapshot, min((*known, *(row.seq for row in rows[:1])), default=None))
        return Look(rows, bool(found) and (found[0][18] > len(found) or found[0][18] == rows_max), snapshot, int(wal))
