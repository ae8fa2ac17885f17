"""Mode `external`: somebody else sends (Debezium), and nobody would delete the rows. This does.

Debezium confirms an LSN of its slot when it has sent what was committed before. So: note which rows are visible, then
ask where the WAL is; once the slot has confirmed that place, exactly those rows have been sent and can go.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, LiteralString

from outbox_relay import sent, slot, table
from outbox_relay.house import House
from outbox_relay.lease import Lease
from outbox_relay.limits import EXTERNAL_ROWS_MAX, KEEP_HOUSE_S
from outbox_relay.postgres import Session

log = logging.getLogger("outbox_relay")

VISIBLE: LiteralString = """
    SELECT seq, aggregatetype FROM amends.outbox WHERE seq <> ALL(%s::bigint[]) ORDER BY seq LIMIT %s
"""
WAL: LiteralString = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"


@dataclass(frozen=True, slots=True)
class Note:
    """Rows that were visible before the WAL was at `wal`, and the topic ids as they were known then."""

    wal: int
    seqs: list[int]
    topic_ids: list[str | None]


class Janitor:
    """Deletes what the slot of another reader has confirmed."""

    def __init__(
        self, name: str, *, lease: Lease, session: Session, house: House, slot_name: str, sent_kept_s: float
    ) -> None:
        self.mode = "external"
        self.health: Mapping[str, Any] = {}
        self._name, self._lease, self._session, self._house = name, lease, session, house
        self._slot_name, self._sent_kept_s = slot_name, sent_kept_s
        self._notes: deque[Note] = deque()
        self._noted: set[int] = set()
        self._deleted = 0
        self._complained = False

    def run(self, stopping: Callable[[], bool], wait: Callable[[float], object]) -> None:
        """Look every second until the lease is lost or `stopping` says so."""
        sent.make_partitions(self._session, self._sent_kept_s)
        while self._lease.held.is_set() and not stopping():
            self.round()
            wait(KEEP_HOUSE_S)

    def round(self) -> None:
        """Note what is there, then delete what has been confirmed."""
        found = slot.status(self._session, self._slot_name)
        if found is None or found.lost:
            self._complain(f"this database has no usable replication slot {self._slot_name!r}; nothing is deleted")
        else:
            self._complained = False
            self._note()
            self._delete(found.confirmed)
        self.health = {"slot": self._slot_name, "noted": len(self._noted), "deleted": self._deleted}

    def _note(self) -> None:
        # Not "beyond the last one noted": a smaller number may commit later.
        room = EXTERNAL_ROWS_MAX - len(self._noted)
        rows = self._session.execute(VISIBLE, (list(self._noted), room)).fetchall() if room else []
        if rows:
            [(wal,)] = self._session.execute(WAL).fetchall()
            ids = self._house.topic_ids
            self._notes.append(Note(int(wal), [seq for seq, _ in rows], [ids.get(topic) for _, topic in rows]))
            self._noted.update(seq for seq, _ in rows)

    def _delete(self, confirmed: int) -> None:
        # Not up to and including: a slot is born with its own place confirmed, which may be where the WAL was.
        while self._notes and self._notes[0].wal < confirmed:
            note = self._notes[0]
            table.delete_sent(self._session, note.seqs, note.topic_ids)
            self._notes.popleft()
            self._noted.difference_update(note.seqs)
            self._deleted += len(note.seqs)

    def _complain(self, what: str) -> None:
        if not self._complained:
            log.error("relay %s (external): %s. Is the connector configured with this slot name?", self._name, what)
            if self._deleted:
                slot.note_trouble(self._session, f"{what}. It was there before: see that the connector sent all rows")
        self._complained = True
        # A slot that is made from now on has confirmed the WAL before it, and nobody has sent what we noted there.
        self._notes.clear()
        self._noted.clear()
