"""What the relay has in its hands: rows that wait, rows that the producer has, rows that are about to leave the table.

A row is in one of the three, or not known at all; what is known is not taken a second time, from whichever source it
comes. Pure. What there is of each row is a NamedTuple: a frozen dataclass takes twice as long to make.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import NamedTuple

from outbox_relay.limits import HELD_BYTES_MAX, HELD_ROWS_MAX
from outbox_relay.rows import StoredRow


class Item(NamedTuple):
    """A row and where the stream told of it; 0 if a SELECT has shown it."""

    row: StoredRow
    lsn: int


class Sent(NamedTuple):
    """An item that the producer has since `at` (monotonic), and the topic's id as it was known before."""

    item: Item
    at: float
    topic_id: str | None


class Held:
    """The three stages, and how much room is left."""

    def __init__(self) -> None:
        self.known: set[int] = set()
        self.waiting: deque[Item] = deque()
        # The oldest is asked for all the time, and a dict looks for its first past all that have left it.
        self.sent: OrderedDict[int, Sent] = OrderedDict()
        self._bytes = 0

    @property
    def room(self) -> int:
        """How many more rows may be taken; 0 as well when the bytes are used up."""
        return max(HELD_ROWS_MAX - len(self.known), 0) if self._bytes < HELD_BYTES_MAX else 0

    def take(self, row: StoredRow, lsn: int) -> bool:
        """Take a row, unless it is known."""
        if row.seq in self.known:
            return False
        self.known.add(row.seq)
        self.waiting.append(Item(row, lsn))
        self._bytes += len(row.payload or b"")
        return True

    def send_next(self, now: float, topic_id: str | None) -> None:
        """The producer has taken the first of those that wait."""
        item = self.waiting.popleft()
        self.sent[item.row.seq] = Sent(item, now, topic_id)

    def leave_next(self) -> Item:
        """The first of those that wait will not be sent: it leaves the table otherwise."""
        item = self.waiting.popleft()
        self._bytes -= len(item.row.payload or b"")
        return item

    def leave(self, seq: int) -> Sent | None:
        """The broker has answered for good: the row leaves the table. None: it was given up meanwhile."""
        sent = self.sent.pop(seq, None)
        if sent is not None:
            self._bytes -= len(sent.item.row.payload or b"")
        return sent

    def gone(self, seqs: Iterable[int]) -> None:
        """The rows are in the table no longer."""
        self.known.difference_update(seqs)

    def oldest_sent_at(self) -> float | None:
        """Since when the producer owes an answer."""
        for sent in self.sent.values():
            return sent.at
        return None

    def forget(self) -> None:
        """Give up what waits and what the producer had: the table has it still."""
        for item in self.waiting:
            self.known.discard(item.row.seq)
            self._bytes -= len(item.row.payload or b"")
        for seq, sent in self.sent.items():
            self.known.discard(seq)
            self._bytes -= len(sent.item.row.payload or b"")
        self.waiting.clear()
        self.sent.clear()
