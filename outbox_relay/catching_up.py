"""When may the stream take over from the table? What need not be heard twice, and what may be forgotten. Pure.

The table is read first. The stream may be believed alone once one look at the table showed everything (no more rows
than were read), and that look's snapshot showed every transaction that the stream had told of until then, and every
one that a new slot will not tell of because it is in the WAL before the slot's beginning. Of what the stream tells
afterwards, a transaction that the snapshot showed is old news: its rows were in that look, or they had been sent and
deleted before it. All others come by the stream, each once.
"""

from collections import deque
from collections.abc import Sequence

from outbox_relay.limits import STREAM_LAG_BYTES_MAX
from outbox_relay.polling import Look
from outbox_relay.replication import Taken, Told
from outbox_relay.rows import StoredRow
from outbox_relay.snapshot import Snapshot


class CatchingUp:
    """The relation between what was looked at and what was told."""

    def __init__(self) -> None:
        self.confirmable = 0  # an LSN: all that was told up to there is visible to a SELECT
        self._unseen: deque[tuple[int, int]] = deque()  # (lsn, xid): told, not known to be visible
        self._position = 0
        self._look: Look | None = None
        self._born_at = 0

    def told(self, taken: Taken) -> None:
        """The stream has told this much."""
        self._unseen.extend((told.lsn, told.xid) for told in taken.told)
        self._position = taken.position
        self._born_at = max(self._born_at, taken.born_at)
        if not self._unseen:
            # Nothing of ours lies before it: what others write on this server would be kept for an idle outbox.
            self.confirmable = self._position

    def looked(self, look: Look) -> None:
        """A look at the table: it begins after what the stream has told so far."""
        self._look = look
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

    def may_stream(self) -> bool:
        """Tell whether, after the last look, the stream alone tells everything that is to come, and soon."""
        look = self._look
        if look is None or look.more or self._unseen or look.snapshot.xmin < self._born_at:
            return False
        return look.wal - self._position <= STREAM_LAG_BYTES_MAX

    def new(self, told: Told) -> Sequence[StoredRow]:
        """The rows of a told transaction, unless the last look showed it."""
        look = self._look
        if look is None or not look.snapshot.shows(told.xid):
            return told.rows
        return ()

    def passed(self) -> None:
        """What is told from now on was committed after the last look."""
        if self._look is not None and self._position >= self._look.wal:
            self._look = None
