"""One tenure of the lease: rows from the table or the stream, to Kafka, and out of the table after the ack.

    polling:    look at the table, send what it shows; the stream, if there is one, is only listened to
    streaming:  send what the stream tells
    polling -> streaming   one look showed everything, also all that the stream had told before it
    streaming -> polling   rows were shed, the stream broke or has a new slot, a delivery failed, a redrive

Nothing here waits for Kafka or for the stream. On any delivery failure all that was sent and not answered is given up
at once, so that no later row passes an earlier one, and the table is read again.
"""

import logging
import select
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from outbox_relay import dead
from outbox_relay.catching_up import CatchingUp
from outbox_relay.deleter import Acked, Deleter, Scope
from outbox_relay.held import Held, Item
from outbox_relay.house import House
from outbox_relay.lease import Lease
from outbox_relay.limits import (
    CONFIRM_S,
    DELIVERY_STALL_S,
    HELD_ROWS_MAX,
    HOLD_BACK_S,
    POLL_BUSY_S,
    POLL_IDLE_S,
    RESTART_FIRST_S,
    RESTART_MAX_S,
    SCAN_ROWS_MAX,
    SLOW_START_ROWS,
    STOP_S,
)
from outbox_relay.openings import Openings
from outbox_relay.polling import TableReader
from outbox_relay.postgres import Session
from outbox_relay.publisher import Failed, Publisher, QueueFull, Refused
from outbox_relay.refusals import Refusals
from outbox_relay.replication import Stream
from outbox_relay.snapshot import current
from outbox_relay.table import is_kept
from outbox_relay.wake import Wake

log = logging.getLogger("outbox_relay")

Mode: TypeAlias = Literal["polling", "streaming"]
STOCK_S = 0.5
HEAR_S = 0.005  # how often the producer is asked for acks while it owes some


def new_counts() -> dict[str, int]:
    """Rows that Kafka took, deliveries that failed, rows that were parked, looks at the table."""
    return {"sent": 0, "failed": 0, "dead": 0, "drains": 0}


class Sender:
    """Runs until the lease is lost or `stopping` says so. `stream` None: polling is all there is."""

    def __init__(
        self,
        name: str,
        *,
        lease: Lease,
        session: Session,
        publisher: Publisher,
        deleter: Deleter,
        house: House,
        stream: Stream | None,
        wake: Wake,
        counts: dict[str, int] | None = None,
    ) -> None:
        """`counts` goes on from one tenure of this process to the next."""
        self.mode: Mode = "polling"
        self.health: Mapping[str, Any] = {}  # how it is; replaced, never changed, so that other threads may read it
        self._name, self._lease, self._session, self._wake = name, lease, session, wake
        self._publisher, self._deleter, self._house, self._stream = publisher, deleter, house, stream
        self._reader = TableReader(session)
        self._held = Held()
        self._refusals = Refusals(name, house, deleter)
        self._openings = Openings()
        self._catching_up = CatchingUp()
        self._look_at = 0.0
        self._stock_at = 0.0
        self._idle_s = POLL_BUSY_S
        self._confirm_at = 0.0
        self._pause_s = RESTART_FIRST_S
        self._window = HELD_ROWS_MAX  # rows that the producer may have
        self._counts = new_counts() if counts is None else counts
        self._error: str | None = None

    def run(self, stopping: Callable[[], bool]) -> None:
        """Send. psycopg.Error: our own session is lost; whoever called begins a new tenure."""
        self._refusals.load(self._session)
        while self._lease.held.is_set() and not stopping():
            self._take_stock()
            self._hear()
            if self._house.redrive_asked.is_set():
                self._redrive_when_quiet()
            elif self.mode == "polling":
                self._poll()
            else:
                self._listen()
            self._dispatch()
            self._wait()
        if self._lease.held.is_set():
            self._finish()

    def _take_stock(self) -> None:
        now = time.monotonic()
        if now < self._stock_at:
            return
        self._stock_at = now + STOCK_S
        oldest = self._held.oldest_sent_at()
        self.health = {
            **self._counts,
            "waiting": len(self._held.waiting),
            "in_flight": len(self._held.sent),
            "in_flight_s": round(now - oldest, 3) if oldest is not None else 0,
            "leaving": len(self._held.known) - len(self._held.waiting) - len(self._held.sent),
            "floor": self._reader.floor.value,
            "parked_keys": self._refusals.parked_keys,
            "parked_topics": self._refusals.parked_topics,
            "slot": self._stream.state if self._stream else None,
            "slot_lost": self._stream.lost if self._stream else None,
            "error": self._error,
        }

    # -- what comes back -------------------------------------------------------------------------------------------

    def _hear(self) -> None:
        done = self._deleter.done
        self._held.gone([done.popleft() for _ in range(len(done))])
        heard = self._publisher.hear()
        self._acked(heard.acked)
        for failed in heard.failed:
            self._failed(failed)
        again = [failed.error for failed in heard.failed if failed.verdict in ("again", "key", "partition")]
        if again or heard.broken:
            self._start_over(again[0] if again else str(heard.broken))
        oldest = self._held.oldest_sent_at()
        if oldest is not None and time.monotonic() - oldest > DELIVERY_STALL_S:
            self._start_over(f"no answer from Kafka for {DELIVERY_STALL_S:.1f} s")

    def _acked(self, seqs: list[int]) -> None:
        left = [sent for seq in seqs if (sent := self._held.leave(seq)) is not None]
        self._deleter.put([Acked(row.seq, lsn, topic_id, is_kept(row)) for (row, lsn), _at, topic_id in left])
        if seqs:
            self._counts["sent"] += len(seqs)
            self._refusals.acked(seqs)
            self._openings.acked(((item.row, topic_id) for item, _at, topic_id in left), time.monotonic())
            self._window = min(self._window + len(seqs), HELD_ROWS_MAX)
            self._pause_s, self._error = RESTART_FIRST_S, None

    def _failed(self, failed: Failed) -> None:
        self._counts["failed"] += 1
        sent = self._held.sent.get(failed.seq)
        if sent is None:
            return
        match failed.verdict:
            case "again":
                pass
            case "partition":
                self._refusals.doubt(sent.item.row)
            case "key" if self._refusals.suspect(failed.seq) and len(self._held.sent) > 1:
                pass  # each row of its batch is tried by itself from now on
            case verdict:
                self._held.leave(failed.seq)
                self._openings.gave_up(sent.item.row)
                self._bury(sent.item, verdict, failed.error)

    def _start_over(self, why: str) -> None:
        """Purge, new producer, read the table again in its order: no row may pass one that failed."""
        log.warning("relay %s: %s; %d rows will be sent again", self._name, why, len(self._held.sent))
        self._error = why
        self._acked(self._publisher.restart())
        self._held.forget()
        self._openings.forget()
        self._window = SLOW_START_ROWS
        self._to_polling()
        self._look_at = time.monotonic() + self._pause_s
        self._pause_s = min(self._pause_s * 2, RESTART_MAX_S)

    # -- what goes out ---------------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        waiting, sent = self._held.waiting, self._held.sent
        oldest = self._held.oldest_sent_at()  # nothing below answers for it, so it is asked for once
        hold_back = oldest is not None and time.monotonic() - oldest > HOLD_BACK_S
        while waiting and not self._house.redrive_asked.is_set():
            now, row = time.monotonic(), waiting[0].row
            if self._refusals.is_behind(row):
                self._refusals.bury_behind(row, self._held.leave_next().lsn)
                self._counts["dead"] += 1
                continue
            if now > self._lease.may_send_until or len(sent) >= self._window or hold_back:
                return
            if self._refusals.must_wait(row, sent):
                return
            if not self._house.knows(row.topic):
                self._house.want(row.topic)  # its id must be known before the send; the answer is a moment away
                return
            topic_id = self._house.topic_ids.get(row.topic)
            opens = not self._openings.is_open(row, topic_id, now)
            if opens and self._openings.is_under_way(row):
                return
            try:
                self._refusals.check(row)
                self._publisher.send(row)
            except QueueFull:
                return
            except Refused as refused:
                self._refused(refused)
                continue
            if opens:
                self._openings.begin(row)
            self._held.send_next(now, topic_id)

    def _refused(self, refused: Refused) -> None:
        match refused.verdict:
            case "again":
                self._start_over(str(refused))
            case "partition":
                self._refusals.doubt(self._held.waiting[0].row)
                self._start_over(str(refused))
            case verdict:
                self._bury(self._held.leave_next(), verdict, str(refused))

    def _bury(self, item: Item, scope: Scope, error: str) -> None:
        self._counts["dead"] += 1
        self._refusals.bury(item.row, item.lsn, scope, error)

    def _redrive_when_quiet(self) -> None:
        """Nothing may be on its way while rows are put back under their old numbers."""
        while self._held.waiting:
            self._held.gone([self._held.leave_next().row.seq])
        self._to_polling()
        if self._held.sent or not self._deleter.idle():
            return
        count = dead.redrive(self._session)
        log.warning("relay %s: %d dead rows go out again", self._name, count)
        self._house.redrive_asked.clear()
        self._refusals.load(self._session)
        self._reader.floor.reset()

    # -- where rows come from --------------------------------------------------------------------------------------

    def _poll(self) -> None:
        rows_max = min(SCAN_ROWS_MAX, self._held.room)
        full = len(self._held.waiting) >= SCAN_ROWS_MAX or rows_max < min(SCAN_ROWS_MAX, len(self._held.known))
        if full or time.monotonic() < self._look_at:
            self._listen_only()
            return
        taken = self._stream.take() if self._stream else None
        if taken is not None:
            self._catching_up.told(taken)  # before the look: all of it must be visible there
        look = self._reader.look(self._held.known, rows_max)
        self._counts["drains"] += 1
        for row in look.rows:
            self._held.take(row, 0)
        self._catching_up.looked(look)
        if taken is not None and taken.live and self._catching_up.may_stream():
            self.mode = "streaming"
            log.info("relay %s: the table is drained, the stream goes on from there", self._name)
        if self._stream is not None:
            self._confirm()  # after the question above: this may see what the look did not
        self._idle_s = POLL_BUSY_S if look.rows else min(self._idle_s * 1.5, POLL_IDLE_S)
        self._look_at = time.monotonic() + (0.0 if look.more else self._idle_s)

    def _listen_only(self) -> None:
        """What the stream tells is shed, for the table has it; so the WAL is freed however long Kafka is away."""
        if self._stream is not None and time.monotonic() >= self._confirm_at:
            self._catching_up.told(self._stream.take())
            self._confirm()

    def _listen(self) -> None:
        assert self._stream is not None
        if not self._held.room:
            log.warning("relay %s: %d rows in memory; the rest is read from the table later", self._name, HELD_ROWS_MAX)
            self._to_polling()
            return
        taken = self._stream.take()
        self._catching_up.told(taken)
        if taken.gap or not taken.live:
            log.warning("relay %s: %s; the table is read", self._name, "rows were shed" if taken.live else "no stream")
            self._to_polling()
            return
        for told in taken.told:
            for row in self._catching_up.new(told):
                self._held.take(row, told.lsn)
        self._catching_up.passed()
        if time.monotonic() >= self._confirm_at:
            self._confirm()

    def _confirm(self) -> None:
        assert self._stream is not None
        if self._catching_up.owes_a_look:
            self._catching_up.shown(current(self._session))
        self._confirm_at = time.monotonic() + CONFIRM_S
        self._stream.confirm(self._catching_up.confirmable)

    def _to_polling(self) -> None:
        self.mode = "polling"
        self._look_at, self._idle_s = 0.0, POLL_BUSY_S

    # -- waiting and ending ----------------------------------------------------------------------------------------

    def _wait(self) -> None:
        wait_s = 0.25
        if self.mode == "polling":
            wait_s = min(wait_s, max(self._look_at - time.monotonic(), 0.0005))
        if self._held.waiting:
            wait_s = min(wait_s, 0.02)
        if self._held.sent:
            wait_s = min(wait_s, HEAR_S)
        if select.select([self._wake.fd], [], [], wait_s)[0]:
            self._wake.clear()

    def _finish(self) -> None:
        """Hear what the producer still owes, and delete it."""
        deadline = time.monotonic() + STOP_S
        while self._held.sent and time.monotonic() < min(deadline, self._lease.may_send_until + DELIVERY_STALL_S):
            self._hear()
            self._wait()
