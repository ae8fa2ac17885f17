"""Source 1: the table itself, in the order of seq, from a floor that is safe.

Never from the last number seen: a smaller one may commit later. The floor only saves the walk over the dead versions
of rows that are gone, which an old snapshot elsewhere (a backup, a report) keeps alive: 150 to 190 ms a look without
it, 0.5 ms with it.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass

from psycopg import sql

from outbox_relay import table
from outbox_relay.limits import FULL_SCAN_S, SCAN_BYTES_MAX
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

    Numbers up to M were taken before transaction X was begun. Once every transaction before X has ended, and no row up
    to M is pending, none will come. A number is taken a moment before its transaction gets an id; so every few seconds
    the whole table is scanned.
    """

    value: int = 0
    _last_seq: int | None = None
    _mark: tuple[int, int] | None = None
    _full_at: float = 0.0

    def begin(self, now: float) -> int:
        """Return where to scan from; `now` is monotonic seconds."""
        if now < self._full_at + FULL_SCAN_S:
            return self.value
        self._full_at = now
        return 0

    def seen(self, snapshot: Snapshot, last_seq: int, pending: int | None) -> None:
        """Learn from a look: the smallest seq that it showed or that is on its way, if any."""
        if self._mark is not None and snapshot.xmin >= self._mark[1]:
            free = self._mark[0] + 1
            self.value = max(self.value, free if pending is None else min(free, pending))
            self._mark = None
        if self._mark is None and self._last_seq is not None:
            # `last_seq` is read after its own snapshot was taken, so it goes with the xmax of the next one.
            self._mark = (self._last_seq, snapshot.xmax)
        self._last_seq = last_seq

    def reset(self) -> None:
        """Begin again: rows were put back under old numbers."""
        self.value, self._mark, self._last_seq = 0, None, None


class TableReader:
    """Looks at the outbox, one short read-only transaction a look."""

    def __init__(self, session: Session) -> None:
        self.floor = Floor()
        self._session = session

    def look(self, known: Collection[int], rows_max: int, snapshot_name: str | None = None) -> Look:
        """Read up to `rows_max` rows that are not `known`, in an exported snapshot if one is named."""
        start = 0 if snapshot_name else self.floor.begin(time.monotonic())
        with self._session.pipeline(), self._session.cursor() as at, self._session.cursor(binary=True) as scan:
            self._session.execute(BEGIN)
            if snapshot_name:
                self._session.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot_name)))
            at.execute(table.LOOK)
            scan.execute(table.SCAN, (start, list(known), rows_max, SCAN_BYTES_MAX))
            self._session.execute("COMMIT")
            [(snapshot_text, last_seq, wal)] = at.fetchall()
            found = scan.fetchall()
        snapshot = Snapshot.parse(snapshot_text)
        rows = [table.stored(values) for values in found]
        self.floor.seen(snapshot, last_seq, min((*known, *(row.seq for row in rows[:1])), default=None))
        return Look(rows, bool(found) and (found[0][18] > len(found) or found[0][18] == rows_max), snapshot, int(wal))

    def snapshot(self) -> Snapshot:
        """What is visible now."""
        [(text,)] = self._session.execute("SELECT pg_current_snapshot()::text").fetchall()
        return Snapshot.parse(text)
