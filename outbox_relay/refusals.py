"""Rows that Kafka did not take: what is tried again, what alone, and what is parked with its key or topic."""

import logging
from collections.abc import Collection

from outbox_relay.dead import Parked
from outbox_relay.deleter import Dead, Deleter, Scope
from outbox_relay.house import House
from outbox_relay.postgres import Session
from outbox_relay.publisher import Refused
from outbox_relay.rows import StoredRow

log = logging.getLogger("outbox_relay")


class Refusals:
    """Of one tenure of the lease."""

    def __init__(self, name: str, house: House, deleter: Deleter) -> None:
        self._name, self._house, self._deleter = name, house, deleter
        self._parked = Parked()
        self._suspects: set[int] = set()  # of a batch that failed: each is tried by itself
        self._unplaced: set[int] = set()  # their partition was not known to the client

    def load(self, session: Session) -> None:
        """What is parked by now."""
        self._parked.load(session)

    @property
    def parked_keys(self) -> int:
        return len(self._parked.keys)

    @property
    def parked_topics(self) -> list[str]:
        return sorted(self._parked.topics)

    def acked(self, seqs: Collection[int]) -> None:
        """These are beyond suspicion."""
        self._suspects.difference_update(seqs)
        self._unplaced.difference_update(seqs)

    def is_behind(self, row: StoredRow) -> bool:
        """Its key or its topic is parked, and it would pass who waits there."""
        return self._parked.holds(row.topic, row.key)

    def must_wait(self, row: StoredRow, sent: Collection[int]) -> bool:
        """A suspect is sent alone: nothing else may be on its way."""
        if not self._suspects or not sent:
            return False
        return row.seq in self._suspects or not self._suspects.isdisjoint(sent)

    def check(self, row: StoredRow) -> None:
        """Raise Refused for what has no place in Kafka, as far as the broker has told."""
        if row.topic in self._house.missing:
            raise Refused("missing", self._house.why_missing(row.topic))
        count = self._house.partitions.get(row.topic)
        if row.seq in self._unplaced and count is not None and row.partition >= count:
            raise Refused("key", f"it is for partition {row.partition}, and {row.topic} has {count}")

    def doubt(self, row: StoredRow) -> None:
        """The client knows no such partition: ask the broker, and try a new client, which knows nothing yet."""
        self._unplaced.add(row.seq)
        self._house.doubt(row.topic)

    def suspect(self, seq: int) -> bool:
        """A batch fails as a whole, for the sake of one row. False: it was a suspect before, and was sent alone."""
        known = seq in self._suspects
        self._suspects.add(seq)
        return not known

    def bury(self, row: StoredRow, lsn: int, scope: Scope, error: str) -> None:
        """Out of the outbox with it; what comes later of its key or its topic will wait there behind it."""
        self._move(row, lsn, scope, error)
        if self._parked.holds(row.topic, row.key):
            return
        if scope == "key":
            self._parked.keys.add((row.topic, row.key))
        else:
            self._parked.topics.add(row.topic)
        log.error(
            "relay %s: Kafka will never take a row for %s, key %r (%s); it is in amends.outbox_dead, and later rows of "
            "its %s wait there behind it",
            self._name,
            row.topic,
            row.key,
            error,
            "key" if scope == "key" else "topic",
        )

    def bury_behind(self, row: StoredRow, lsn: int) -> None:
        """To those that wait already."""
        self._move(row, lsn, "behind", "waits behind an earlier row of its key or topic")

    def _move(self, row: StoredRow, lsn: int, scope: Scope, error: str) -> None:
        self._suspects.discard(row.seq)
        self._unplaced.discard(row.seq)
        self._deleter.put([Dead(row.seq, lsn, scope, error)])
