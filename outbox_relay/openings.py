"""Partitions that this producer has not written to yet: its first row goes there alone.

A broker that knows nothing of a producer in a partition takes any sequence number from it (KIP-360). So when the first
batch is refused, for the size of one row or because a replica is away, the batches that are on their way behind it are
taken and pass it; only from the first ack on the broker refuses them. It forgets a producer that was silent for
producer.id.expiration.ms, a day as a rule, and whatever it knew with a topic that is deleted. Pure.
"""

from collections.abc import Iterable

from outbox_relay.limits import OPENED_S
from outbox_relay.rows import StoredRow


class Openings:
    """Of one producer; `forget` with a new one. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._opened: dict[tuple[str, int], tuple[str | None, float]] = {}
        self._under_way: dict[tuple[str, int], int] = {}

    def is_open(self, row: StoredRow, topic_id: str | None, now: float) -> bool:
        """Whether its partition has taken a row of this producer, not too long ago and in the same topic."""
        opened = self._opened.get((row.topic, row.partition))
        return opened is not None and opened[0] == topic_id and now - opened[1] < OPENED_S

    def is_under_way(self, row: StoredRow) -> bool:
        """Whether the row that opens its partition waits for its ack."""
        return (row.topic, row.partition) in self._under_way

    def begin(self, row: StoredRow) -> None:
        """This is the row that opens its partition."""
        self._under_way[row.topic, row.partition] = row.seq

    def acked(self, rows: Iterable[tuple[StoredRow, str | None]], now: float) -> None:
        """These have arrived; with each the topic's id as it was when it was sent."""
        for row, topic_id in rows:
            self._opened[row.topic, row.partition] = topic_id, now
            if self._under_way:  # hardly ever, and there are many rows
                self._end(row)

    def gave_up(self, row: StoredRow) -> None:
        """This will never arrive; another one may open its partition."""
        self._end(row)

    def forget(self) -> None:
        """A new producer has written nowhere."""
        self._opened.clear()
        self._under_way.clear()

    def _end(self, row: StoredRow) -> None:
        """Only for the row that opens: a late ack may be of a topic of this name that is gone."""
        if self._under_way.get((row.topic, row.partition)) == row.seq:
            del self._under_way[row.topic, row.partition]
