"""Delete acknowledged rows, many at a time, on a thread of its own; move dead ones away first.

An ack may come before the row is visible here, because decoding runs ahead of visibility: then the DELETE finds
nothing, and the row would stay for ever and go out again with the next drain, weeks later. So what was not found is
asked for again, until a snapshot is known to show its transaction.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import psycopg

from outbox_relay import dead, sent, table
from outbox_relay.limits import DELETE_DELAY_S, DELETE_RETRY_S, DELETE_ROWS_MAX, RESTART_MAX_S
from outbox_relay.postgres import Session, connect

log = logging.getLogger("outbox_relay")

Scope: TypeAlias = Literal["key", "topic", "missing", "behind"]


class Acked(NamedTuple):
    """A row that the broker has. `lsn`: where the stream told of it, 0 if a SELECT has shown it. One a message.

    `kept`: as table.is_kept says.
    """

    seq: int
    lsn: int
    topic_id: str | None
    kept: bool


@dataclass(frozen=True, slots=True)
class Dead:
    """A row that goes to outbox_dead."""

    seq: int
    lsn: int
    scope: Scope
    error: str


Item: TypeAlias = Acked | Dead


class Deleter(threading.Thread):
    """`done`: numbers of rows that are in the outbox no longer. `shown()`: the LSN up to which all is visible."""

    def __init__(
        self,
        database_url: str,
        name: str,
        adopt: Callable[[Session], None],
        shown: Callable[[], int],
        sent_kept_s: float,
    ) -> None:
        super().__init__(name=f"outbox-deleter-{name}", daemon=True)
        self.done: deque[int] = deque()
        self._url, self._adopt, self._shown, self._sent_kept_s = database_url, adopt, shown, sent_kept_s
        self._work: deque[Item] = deque()
        self._late: list[Item] = []
        self._late_at = 0.0
        self._busy = False
        self._stop_asked = False
        self._changed = threading.Condition()

    def put(self, items: list[Item]) -> None:
        """Take rows over."""
        if items:
            with self._changed:
                self._work.extend(items)
                self._changed.notify()

    def idle(self) -> bool:
        """Tell whether nothing is left to do."""
        with self._changed:
            return not (self._work or self._late or self._busy)

    def close(self, wait_s: float) -> None:
        """Finish what was put, for at most `wait_s` seconds: what is left goes out again with the next drain."""
        deadline = time.monotonic() + wait_s
        while self.is_alive() and not self.idle() and time.monotonic() < deadline:
            time.sleep(DELETE_DELAY_S)
        with self._changed:
            self._stop_asked = True
            self._changed.notify()
        self.join(wait_s)

    def run(self) -> None:
        """Go on over lost connections: what was not deleted is deleted then."""
        pause_s = DELETE_RETRY_S
        while not self._stop_asked:
            try:
                with connect(self._url, "delete") as session:
                    self._adopt(session)
                    while not self._stop_asked:
                        self._cycle(session)
                        pause_s = DELETE_RETRY_S
            except psycopg.Error as error:
                log.warning("%s: %s; trying again in %.1f s", self.name, str(error).strip(), pause_s)
                time.sleep(pause_s)
                pause_s = min(pause_s * 2, RESTART_MAX_S)

    def _cycle(self, session: Session) -> None:
        batch = self._gather()
        if not batch:
            return
        before = self._shown()
        try:
            gone = self._remove(session, batch)
        except BaseException:
            with self._changed:
                self._work.extendleft(reversed(batch))
                self._busy = False
            raise
        self.done.extend(item.seq for item in batch if item.seq in gone or item.lsn <= before)
        with self._changed:
            self._busy = False
            late = [item for item in batch if item.seq not in gone and item.lsn > before]
            if late and not self._late:
                self._late_at = time.monotonic() + DELETE_RETRY_S
            self._late += late

    def _gather(self) -> list[Item]:
        with self._changed:
            if not self._work and not self._stop_asked:
                self._changed.wait(DELETE_RETRY_S if self._late else 1.0)
        if self._work and len(self._work) < DELETE_ROWS_MAX:
            time.sleep(DELETE_DELAY_S)  # nothing waits for a delete; more acks are on their way
        with self._changed:
            if self._late and time.monotonic() >= self._late_at:
                self._work.extend(self._late)
                self._late = []
            batch = [self._work.popleft() for _ in range(min(len(self._work), DELETE_ROWS_MAX))]
            self._busy = bool(batch)
        return batch

    def _remove(self, session: Session, batch: list[Item]) -> set[int]:
        gone: set[int] = set()
        died = [item for item in batch if isinstance(item, Dead)]
        acked = [item for item in batch if isinstance(item, Acked)]
        kept = [item for item in acked if item.kept]
        if died:
            gone.update(dead.move(session, [d.seq for d in died], [d.scope for d in died], [d.error for d in died]))
        if len(kept) < len(acked):
            gone.update(table.delete_unkept(session, [a.seq for a in acked if not a.kept]))
        if kept:
            params = ([a.seq for a in kept], [a.topic_id for a in kept])
            try:
                gone.update(table.delete_sent(session, *params))
            except psycopg.errors.CheckViolation:
                # No partition of outbox_sent for today: nobody kept house. Make it now.
                sent.make_partitions(session, self._sent_kept_s)
                gone.update(table.delete_sent(session, *params))
        return gone
