"""When may the stream take over from the table? What it tells twice, and what it may forget. Pure.

The table is read first. The stream may be believed alone once one look at the table showed everything (no more rows
than were read), and that look's snapshot showed every transaction the stream had told of until then. From there on each
row comes once by the stream, except those that a look has shown and the stream has not told of yet: their numbers are
kept until the stream has passed the place in the WAL before which that look's rows were committed.
"""

from collections import deque
from collections.abc import Sequence

from outbox_relay.limits import RECENT_ROWS_MAX
from outbox_relay.polling import Look
from outbox_relay.replication import Taken, Told
from outbox_relay.rows import StoredRow
from outbox_relay.snapshot import Snapshot


class CatchingUp:
    """The relation between what was looked at and what was told."""

    def __init__(self) -> None:
        self._looked: deque[tuple[int, list[int]]] = deque()  # (wal, numbers)
        self._recent: set[int] = set()
        self._unseen: deque[tuple[int, int]] = deque()  # (lsn, xid): told, not known to be visible
        self._position = 0
        self.confirmable = 0  # an LSN: all that was told up to there is visible to a SELECT

    def told(self, taken: Taken) -> None:
        """The stream has told this much."""
        self._unseen.extend((told.lsn, told.xid) for told in taken.told)
        self._position = taken.position
        while self._looked and self._looked[0][0] <= taken.position:
            self._recent.difference_update(self._looked.popleft()[1])

    def looked(self, look: Look) -> None:
        """A look at the table has shown these rows, and which transactions are visible."""
        if look.rows:
            numbers = [row.seq for row in look.rows]
            self._looked.append((look.wal, numbers))
            self._recent.update(numbers)
        self.shown(look.snapshot)

    def shown(self, snapshot: Snapshot) -> None:
        """All that this snapshot shows may be confirmed, up to the first transaction that it does not show."""
        while self._unseen and snapshot.shows(self._unseen[0][1]):
            self.confirmable = self._unseen.popleft()[0]
        if not self._unseen:
            self.confirmable = self._position

    @property
    def owes_a_look(self) -> bool:
        """Whether something was told that is not known to be visible yet."""
        return bool(self._unseen)

    def may_stream(self, look: Look) -> bool:
        """Tell whether, after this look, the stream alone tells everything that is to come."""
        return not look.more and not self._unseen and len(self._recent) <= RECENT_ROWS_MAX

    def new(self, told: Told) -> Sequence[StoredRow]:
        """The rows of a told transaction that no look has shown."""
        if not self._recent:
            return told.rows
        return [row for row in told.rows if row.seq not in self._recent]
