"""Source 2: the replication stream, read on a thread of its own that answers keepalives and never waits for Kafka.

What it tells is kept up to a bound, for the sender to `take`; beyond it rows are shed (only the mark that there was a
gap is kept), because the table still has them. Confirming an LSN says "do not tell me again": the sender does so once
all that was told up to there is visible to a SELECT, whether it has been sent or not.
"""

import logging
import select
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg
from psycopg import pq

from outbox_relay import slot
from outbox_relay.failpoints import failpoint
from outbox_relay.limits import (
    SLOT_RETRY_FIRST_S,
    SLOT_RETRY_MAX_S,
    STATUS_S,
    TOLD_BYTES_MAX,
    TOLD_ROWS_MAX,
    WAL_SENDER_TIMEOUT_S,
)
from outbox_relay.pgoutput import OPTIONS, Begin, Commit, Decoder, ProtocolError
from outbox_relay.postgres import Session, connect, conninfo
from outbox_relay.rows import StoredRow
from outbox_relay.wake import Wake

log = logging.getLogger("outbox_relay")

_STATUS = struct.Struct(">cQQQqB")
_XLOG = struct.Struct(">cQQq")
_KEEPALIVE = struct.Struct(">cQqB")


class StreamEnded(Exception):
    """The server ended the stream, or a command on its connection failed."""


@dataclass(frozen=True, slots=True)
class Told:
    """A transaction, in commit order. Its rows may have been shed."""

    lsn: int
    xid: int
    rows: tuple[StoredRow, ...]


@dataclass(frozen=True, slots=True)
class Taken:
    """What was told since the last time, up to `position`. `gap`: rows were shed, or the slot is a new one.

    `born_at`: a transaction id, not 0 for a new slot. Those before it may have committed untold, not visible yet.
    """

    told: list[Told]
    gap: bool
    position: int
    live: bool
    born_at: int = 0


@dataclass(slots=True)
class _Buffer:
    told: list[Told] = field(default_factory=list)
    rows: int = 0
    size: int = 0
    gap: bool = True
    position: int = 0
    live: bool = False
    born_at: int = 0


class ReplicationConnection:
    """A connection that speaks the replication protocol. Waiting can be ended by `stop`."""

    def __init__(self, database_url: str, stop: threading.Event) -> None:
        timeout = f"wal_sender_timeout={int(WAL_SENDER_TIMEOUT_S * 1000)}"
        self.connection = psycopg.connect(
            conninfo(database_url, "stream", timeout, replication="database"), autocommit=True
        )
        self.pg = self.connection.pgconn
        self._stop = stop

    def command(self, text: str) -> list[tuple[str | None, ...]]:
        """Run a command and return its rows as text. Looks at `stop` while it waits."""
        self.pg.send_query(text.encode())
        result = self._result()
        if result is None or result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COPY_BOTH):
            raise StreamEnded(self._error(result))
        if result.status == pq.ExecStatus.COPY_BOTH:
            return []
        while self._result() is not None:
            pass
        columns = range(result.nfields)
        rows = [[result.get_value(n, m) for m in columns] for n in range(result.ntuples)]
        return [tuple(None if value is None else value.decode() for value in row) for row in rows]

    def _result(self) -> pq.abc.PGresult | None:
        while self.pg.flush():
            select.select([], [self.pg.socket], [], 1.0)
        while self.pg.is_busy():
            if self._stop.is_set():
                raise StreamEnded("stopped")
            if select.select([self.pg.socket], [], [], 0.2)[0]:
                self.pg.consume_input()
        return self.pg.get_result()

    def _error(self, result: pq.abc.PGresult | None) -> str:
        text = result.error_message if result is not None else self.pg.error_message
        return text.decode(errors="replace").strip()

    def close(self) -> None:
        """Close it; a walsender that waits for us notices at once."""
        self.connection.close()


class Stream(threading.Thread):
    """Follows the slot, and makes it where there is none. `wake` is called when there is something to take."""

    def __init__(
        self, database_url: str, name: str, adopt: Callable[[Session], None], wake: Callable[[], None]
    ) -> None:
        super().__init__(name=f"outbox-stream-{name}", daemon=True)
        self.slot_name = ""
        self.state = "starting"
        self.lost: str | None = None  # what was wrong with the slot when we last looked and found something
        self.confirmed = 0
        self._url, self._adopt, self._wake = database_url, adopt, wake
        self._stop_asked, self._stop_bell = threading.Event(), Wake()
        self._lock = threading.Lock()
        self._buffer = _Buffer()

    def take(self) -> Taken:
        """Take what was told since the last time."""
        with self._lock:
            b = self._buffer
            taken = Taken(b.told, b.gap, b.position, b.live, b.born_at)
            self._buffer = _Buffer(gap=False, position=b.position, live=b.live)
            return taken

    def confirm(self, lsn: int) -> None:
        """All up to here is visible, and in memory or knowingly shed: the slot may forget it."""
        self.confirmed = max(self.confirmed, lsn)

    def close(self) -> None:
        """End it; the slot stays."""
        self._stop_asked.set()
        self._stop_bell.ring()  # nobody sends until the relay has ended: its reader must not sit out its wait
        self.join()
        self._stop_bell.close()

    def run(self) -> None:
        """Follow, and begin again after whatever ends it: the table is polled meanwhile."""
        pause_s = SLOT_RETRY_FIRST_S
        while not self._stop_asked.is_set():
            try:
                self._follow()
            except (psycopg.Error, StreamEnded, ProtocolError) as error:
                if self._stop_asked.is_set():
                    break
                # A stream that had lived is begun again soon; one that can't be begun, less and less often.
                pause_s = SLOT_RETRY_FIRST_S if self.state == "live" else min(pause_s * 2, SLOT_RETRY_MAX_S)
                self.state = f"no stream: {str(error).strip()}"
                log.warning("%s: %s. The table is polled; next try in %.1f s.", self.name, str(error).strip(), pause_s)
            finally:
                with self._lock:
                    self._buffer.live = False
            self._stop_asked.wait(pause_s)

    def _follow(self) -> None:
        replication = ReplicationConnection(self._url, self._stop_asked)
        try:
            if not self._prepare(replication):
                return
            quoted = psycopg.sql.Identifier(self.slot_name).as_string(None)
            replication.command(f"START_REPLICATION SLOT {quoted} LOGICAL 0/0 ({OPTIONS})")
            with self._lock:
                self._buffer.live = True
            self.state = "live"
            _Reader(replication.pg, self).run()
        finally:
            replication.close()

    def _prepare(self, replication: ReplicationConnection) -> bool:
        """Find the slot or make it. Whoever reads it is no holder of the lease any more: we are."""
        with connect(self._url, "slot") as session:
            self._adopt(session)
            self.slot_name = slot.name_of(session)
            found = slot.status(session, self.slot_name)
            if found is not None and found.active_pid is not None:
                session.execute(slot.END_READER, (self.slot_name,))
                _await_free(session, self.slot_name, self._stop_asked)
            origin, wal = slot.server(replication)
            before = slot.noted(session)
            if (why := slot.why_lost(before, found, self.slot_name, origin, wal)) is not None:
                self._lost(session, why, there=found is not None)
                found = None
            if found is None:
                self._make(session, replication)
            if found is None or before.name is None:
                slot.note(session, self.slot_name, origin)
        return not self._stop_asked.is_set()

    def _lost(self, session: Session, why: str, *, there: bool) -> None:
        self.lost = why
        log.error(
            "%s: %s. The table is polled and a new slot is made; nothing is lost by it, but whatever did it may have "
            "done more",
            self.name,
            why,
        )
        slot.note_trouble(session, why)
        slot.note(session, None, None)  # or the next relay, if we die here, would miss the slot that we drop
        if there and not slot.drop(session, self.slot_name):
            raise StreamEnded(f"slot {self.slot_name} can't be dropped: somebody reads it")

    def _make(self, session: Session, replication: ReplicationConnection) -> None:
        self.state = "making the slot: waits for every transaction that is running"
        point = slot.create(replication, self.slot_name)
        log.info("%s: made the slot %s at %s", self.name, self.slot_name, slot.format_lsn(point))
        # What is in the WAL before that point is not told, and may not be visible yet.
        [(xid,)] = session.execute("SELECT pg_current_xact_id()::text::bigint").fetchall()
        with self._lock:
            self._buffer = _Buffer(gap=True, position=point, born_at=xid)
        self.confirmed = point

    def _told(self, told: Told, size: int, *, shed: bool) -> None:
        with self._lock:
            b = self._buffer
            b.position = told.lsn
            first = not b.told  # whoever has not taken the last one yet was woken for it, and takes them all
            if shed or b.rows + len(told.rows) > TOLD_ROWS_MAX or b.size + size > TOLD_BYTES_MAX:
                b.gap = True
                told = Told(told.lsn, told.xid, ())
                size = 0
            b.told.append(told)
            b.rows += max(len(told.rows), 1)
            b.size += size
        if first:
            self._wake()

    def _at(self, position: int) -> None:
        with self._lock:
            self._buffer.position = max(self._buffer.position, position)

    def _position(self) -> int:
        with self._lock:
            return self._buffer.position


class _Reader:
    """Reads one stream until it ends or its owner stops."""

    def __init__(self, pg: pq.abc.PGconn, owner: Stream) -> None:
        self._pg, self._owner = pg, owner
        self._decoder = Decoder()
        self._begin: Begin | None = None
        self._rows: list[StoredRow] = []
        self._size = 0
        self._shed = False
        self._answer_at = 0.0

    def run(self) -> None:
        pg, stop = self._pg, self._owner._stop_asked
        while not stop.is_set():
            length, data = pg.get_copy_data(1)
            if length > 0:
                self._message(bytes(data))
            elif length == 0:
                self._answer(time.monotonic())
                select.select([pg.socket, self._owner._stop_bell.fd], [], [], STATUS_S / 2)
                pg.consume_input()
            else:
                raise StreamEnded(self._why())
            if length > 0 and time.monotonic() >= self._answer_at:
                self._answer(time.monotonic())
        self._answer_at = 0.0
        with suppress(psycopg.Error):
            self._answer(time.monotonic())

    def _message(self, data: bytes) -> None:
        if data[0] == 0x6B:  # k: keepalive. All that committed before `position` has been told.
            _k, position, _clock, answer = _KEEPALIVE.unpack_from(data)
            if self._begin is None:
                self._owner._at(position)
            if answer:
                self._answer_at = 0.0
            return
        match self._decoder.feed(data[_XLOG.size :]):
            case StoredRow() as row:
                self._row(row)
            case Begin() as begin:
                self._begin, self._rows, self._size, self._shed = begin, [], 0, False
            case Commit(end_lsn):
                self._commit(end_lsn)
            case None:
                pass

    def _row(self, row: StoredRow) -> None:
        self._size += len(row.payload or b"")
        if len(self._rows) >= TOLD_ROWS_MAX or self._size > TOLD_BYTES_MAX:
            self._shed, self._rows = True, []
        if not self._shed:
            self._rows.append(row)

    def _commit(self, end_lsn: int) -> None:
        assert self._begin is not None
        # Told before, by an earlier connection to the same slot: it has been taken, or knowingly shed.
        if end_lsn > self._owner._position():
            self._owner._told(Told(end_lsn, self._begin.xid, tuple(self._rows)), self._size, shed=self._shed)
        self._begin, self._rows = None, []

    def _answer(self, now: float) -> None:
        if now < self._answer_at:
            return
        self._answer_at = now + STATUS_S
        confirmed = self._owner.confirmed
        failpoint("relay.confirm.before")
        self._pg.put_copy_data(_STATUS.pack(b"r", max(confirmed, self._owner._position()), confirmed, confirmed, 0, 0))
        self._pg.flush()
        failpoint("relay.confirm.after")

    def _why(self) -> str:
        result = self._pg.get_result()
        text = (result.error_message if result is not None else b"") or self._pg.error_message
        return text.decode(errors="replace").strip() or "the server ended the stream"


def _await_free(session: Session, name: str, stop: threading.Event) -> None:
    deadline, found = time.monotonic() + WAL_SENDER_TIMEOUT_S * 2, None
    while not stop.is_set() and time.monotonic() < deadline:
        found = slot.status(session, name)
        if found is None or found.active_pid is None:
            return
        stop.wait(0.05)
    if not stop.is_set():
        raise StreamEnded(f"slot {name} is still read by somebody, pid {found.active_pid if found else '?'}")
