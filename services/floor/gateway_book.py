"""Reads the gateway's own book: money by the order of its rows, and its calls by their numbers.

The gateway is another company's; that we may open its book is what makes the floor's headline worth something. It is
read only, in SQLite's read mode, so nothing here can keep the gateway waiting.
"""

import sqlite3
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, LiteralString

from services.floor.ledger import Ledger
from services.floor.limits import OPEN_CALL_S, WINDOW_CALLS_MAX
from services.floor.pace import Pace

Outcome = Literal["ok", "failed", "unknown"]

CHARGES: LiteralString = "SELECT rowid, id, key, order_id, cents, at FROM charges WHERE rowid > ? ORDER BY rowid"
REFUNDS: LiteralString = "SELECT rowid, id, key, order_id, cents, at FROM refunds WHERE rowid > ? ORDER BY rowid"
# A payment is not taken when it is asked for, but when its customer pays. Each change of it owes a webhook, in the same
# transaction: so the webhooks' rows say which payments have changed, in order.
ASKED: LiteralString = "SELECT rowid, id, key, order_id, at FROM payments WHERE rowid > ? ORDER BY rowid"
CHANGED: LiteralString = """
    SELECT w.rowid, p.id, p.key, p.order_id, p.cents, p.taken_at, p.refund_id, p.back_at
    FROM webhooks w JOIN payments p ON p.id = w.payment_id WHERE w.rowid > ? ORDER BY w.rowid
"""
CALLS: LiteralString = """
    SELECT attempt, kind, key, order_id, began_at, answer FROM attempts WHERE attempt >= ? ORDER BY attempt
"""
OUTCOMES: dict[str, Outcome] = {
    "sent": "ok",  # also a no: the other side is well
    "turned away": "failed",
    "lost": "unknown",
    "late": "unknown",
    "hung up": "unknown",
}


class GatewayBook:
    """What was read of it so far. Blocks for a file's reading; used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._charges_read = 0
        self._refunds_read = 0
        self._payments_read = 0
        self._changes_read = 0
        self._calls_from = 1
        self._ended: set[int] = set()  # calls from `_calls_from` on that have ended
        self._unknown: dict[str, str] = {}  # key -> order, of calls whose answer nobody got
        self.window: deque[Outcome] = deque(maxlen=WINDOW_CALLS_MAX)

    def read(self, ledger: Ledger, pace: Pace) -> bool:
        """Read on; whether the window has moved. Nothing is there before the gateway's first start."""
        if not self._path.exists():
            return False
        with _open(self._path) as book:
            self._read_charges(book, ledger, pace)
            self._read_payments(book, ledger, pace)
            return self._read_calls(book, ledger)

    @property
    def failed_in_a_row(self) -> int:
        """How many of the latest calls, one after the other, did not end well: this is what a breaker counts."""
        count = 0
        for outcome in reversed(self.window):
            if outcome == "ok":
                break
            count += 1
        return count

    def _read_charges(self, book: sqlite3.Connection, ledger: Ledger, pace: Pace) -> None:
        for rowid, charge, key, order_id, cents, at_s in book.execute(CHARGES, (self._charges_read,)):
            ledger.charged(order_id, charge, cents)
            pace.step("forward", key, datetime.fromtimestamp(at_s, UTC))
            self._charges_read = rowid
        for rowid, refund, key, order_id, cents, at_s in book.execute(REFUNDS, (self._refunds_read,)):
            ledger.refunded(order_id, refund, cents)
            pace.step("back", key, datetime.fromtimestamp(at_s, UTC))
            self._refunds_read = rowid

    def _read_payments(self, book: sqlite3.Connection, ledger: Ledger, pace: Pace) -> None:
        for rowid, _payment, key, _order_id, at_s in book.execute(ASKED, (self._payments_read,)):
            pace.step("forward", key, datetime.fromtimestamp(at_s, UTC))
            self._payments_read = rowid
        for row in book.execute(CHANGED, (self._changes_read,)):
            self._changes_read, payment, key, order_id, cents, taken_s, refund, back_s = row
            if taken_s is not None:
                ledger.charged(order_id, payment, cents)
            if back_s is not None:
                ledger.refunded(order_id, refund, cents)
                pace.step("back", key, datetime.fromtimestamp(back_s, UTC))

    def _read_calls(self, book: sqlite3.Connection, ledger: Ledger) -> bool:
        """Calls have numbers in the order of their begin, and end in another: so those that run are looked at again."""
        first_open, last, moved = None, self._calls_from - 1, False
        given_up_s = time.time() - OPEN_CALL_S
        for number, kind, key, order_id, began_s, answer in book.execute(CALLS, (self._calls_from,)):
            last = number
            if answer is None:
                first_open = number if first_open is None and began_s > given_up_s else first_open
            elif number not in self._ended:
                self._ended.add(number)
                self.window.append(OUTCOMES[answer])
                moved = True
                self._note_answer(ledger, kind, key, order_id, OUTCOMES[answer])
        self._calls_from = last + 1 if first_open is None else first_open
        self._ended = {number for number in self._ended if number >= self._calls_from}
        return moved

    def _note_answer(self, ledger: Ledger, kind: str, key: str, order_id: str | None, outcome: Outcome) -> None:
        """A lost answer leaves its key unknown until some answer about the key, or about all of the order, is got."""
        if outcome == "unknown" and kind != "lookup" and order_id is not None:
            self._unknown[key] = order_id
            ledger.answered(order_id, key, is_known=False)
        elif outcome == "ok":
            about = [one for one, its in self._unknown.items() if key in (one, f"{one}:undo") or its == order_id]
            for one in about:
                ledger.answered(self._unknown.pop(one), one, is_known=True)


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    """All is read as of one moment."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
    try:
        connection.execute("BEGIN")
        yield connection
    finally:
        connection.close()
