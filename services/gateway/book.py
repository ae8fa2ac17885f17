"""The gateway's book in SQLite: every charge, every refund, and every request with its time, by idempotency key.

Amounts are in cents, times in seconds since the epoch. The auditor and the demo read this file while the gateway runs
(WAL), and after it was killed.
"""

import sqlite3
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, LiteralString

TABLES: LiteralString = """
CREATE TABLE IF NOT EXISTS charges (
    id TEXT PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    order_id TEXT NOT NULL,
    card TEXT NOT NULL,
    cents INTEGER NOT NULL,
    at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS refunds (
    id TEXT PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    charge_id TEXT NOT NULL,
    order_id TEXT NOT NULL,
    cents INTEGER NOT NULL,
    at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS attempts (
    attempt INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('charge', 'refund', 'lookup', 'payment', 'cancel')),
    key TEXT NOT NULL,
    order_id TEXT,
    phase TEXT NOT NULL,
    began_at REAL NOT NULL,
    ended_at REAL,
    effect TEXT CHECK (effect IN ('booked', 'repeated', 'declined', 'none')),
    answer TEXT CHECK (answer IN ('sent', 'lost', 'late', 'turned away', 'hung up'))
);
CREATE INDEX IF NOT EXISTS attempts_key ON attempts (key);
CREATE INDEX IF NOT EXISTS attempts_order ON attempts (order_id);
CREATE TABLE IF NOT EXISTS phases (
    phase TEXT NOT NULL,
    at REAL NOT NULL
);
"""

BEGIN: LiteralString = "INSERT INTO attempts (kind, key, order_id, phase, began_at) VALUES (?, ?, ?, ?, ?)"
BOOKED: LiteralString = "UPDATE attempts SET effect = ? WHERE attempt = ?"
END: LiteralString = "UPDATE attempts SET ended_at = ?, answer = ?, effect = coalesce(effect, 'none') WHERE attempt = ?"
CHARGE_OF_KEY: LiteralString = "SELECT id, key, order_id, cents FROM charges WHERE key = ?"
CHARGES_OF_ORDER: LiteralString = "SELECT id, key, order_id, cents FROM charges WHERE order_id = ? ORDER BY at"
CHARGE: LiteralString = "SELECT id, key, order_id, cents FROM charges WHERE id = ?"
REFUND_OF_KEY: LiteralString = "SELECT id, key, order_id, cents FROM refunds WHERE key = ?"
ADD_CHARGE: LiteralString = "INSERT INTO charges (id, key, order_id, card, cents, at) VALUES (?, ?, ?, ?, ?, ?)"
ADD_REFUND: LiteralString = "INSERT INTO refunds (id, key, charge_id, order_id, cents, at) VALUES (?, ?, ?, ?, ?, ?)"
ATTEMPTS_SINCE: LiteralString = "SELECT count(*) FROM attempts WHERE began_at >= ?"
TRIED_BEFORE: LiteralString = "SELECT count(*) FROM attempts WHERE key = ? AND kind = ?"
ASKED_BEFORE: LiteralString = "SELECT count(*) FROM attempts WHERE order_id = ? AND kind = ?"
ADD_PHASE: LiteralString = "INSERT INTO phases (phase, at) VALUES (?, ?)"
ATTEMPTS_BY_KEY: LiteralString = "SELECT key, count(*) FROM attempts WHERE kind = 'charge' GROUP BY key"

Kind = Literal["charge", "refund", "lookup", "payment", "cancel"]
Effect = Literal["booked", "repeated", "declined", "none"]
Answer = Literal["sent", "lost", "late", "turned away", "hung up"]


class KeyUsedDifferently(Exception):
    """The same idempotency key came with another body."""


class NoSuchCharge(Exception):
    """A refund of something that was never charged."""


@dataclass(frozen=True, slots=True)
class Booking:
    """A charge or a refund in the book. `repeated`: it was there already under this key."""

    id: str
    key: str
    order_id: str
    cents: int
    repeated: bool = False


class Book:
    """One connection, used by one thread; each method is one transaction."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(TABLES)

    @property
    def connection(self) -> sqlite3.Connection:
        """For `payments`, whose tables stand in the same book."""
        return self._db

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def begin(self, kind: Kind, key: str, order_id: str | None, phase: str) -> int:
        """Write down that a request came, before anything is done about it; return its number."""
        row = self._db.execute(BEGIN, (kind, key, order_id, phase, time.time())).lastrowid
        assert row is not None
        return row

    def note_effect(self, attempt: int, effect: Effect) -> None:
        """What the request did, at the moment it did it."""
        self._db.execute(BOOKED, (effect, attempt))

    def end(self, attempt: int, answer: Answer) -> None:
        """How the request was answered."""
        self._db.execute(END, (time.time(), answer, attempt))

    def charge(self, key: str, order_id: str, card: str, cents: int) -> Booking:
        """Charge once a key. Raises KeyUsedDifferently."""
        found = self.charge_of(key)
        if found is None:
            new = Booking(f"ch_{uuid.uuid4().hex[:16]}", key, order_id, cents)
            self._db.execute(ADD_CHARGE, (new.id, key, order_id, card, cents, time.time()))
            return new
        if (found.order_id, found.cents) != (order_id, cents):
            raise KeyUsedDifferently(f"{key} was used for {found.order_id}, {found.cents} cents")
        return found

    def refund(self, key: str, charge_id: str) -> Booking:
        """Refund a charge, all of it, once a key. Raises NoSuchCharge."""
        if (found := self._known(REFUND_OF_KEY, key)) is not None:
            return found
        charge = self._db.execute(CHARGE, (charge_id,)).fetchone()
        if charge is None:
            raise NoSuchCharge(charge_id)
        _, _, order_id, cents = charge
        new = Booking(f"re_{uuid.uuid4().hex[:16]}", key, order_id, cents)
        self._db.execute(ADD_REFUND, (new.id, key, charge_id, order_id, cents, time.time()))
        return new

    def charge_of(self, key: str) -> Booking | None:
        """The charge under this key, if there is one."""
        return self._known(CHARGE_OF_KEY, key)

    def times_tried(self, key: str, kind: Kind) -> int:
        """How many requests came under this key, the running ones too."""
        (count,) = self._db.execute(TRIED_BEFORE, (key, kind)).fetchone()
        return int(count)

    def charges_of(self, order_id: str) -> list[Booking]:
        """All charges of an order, oldest first; more than one if it came under several keys."""
        rows = self._db.execute(CHARGES_OF_ORDER, (order_id,)).fetchall()
        return [Booking(charge, key, order, cents, repeated=True) for charge, key, order, cents in rows]

    def times_asked(self, order_id: str, kind: Kind) -> int:
        """How many requests came for this order, under whatever key, the running ones too."""
        (count,) = self._db.execute(ASKED_BEFORE, (order_id, kind)).fetchone()
        return int(count)

    def note_phase(self, phase: str, at_s: float) -> None:
        """The gateway is so from then on."""
        self._db.execute(ADD_PHASE, (phase, at_s))

    def requests_since(self, since_s: float) -> int:
        """How many requests came since then."""
        (count,) = self._db.execute(ATTEMPTS_SINCE, (since_s,)).fetchone()
        return int(count)

    def attempts_by_key(self) -> dict[str, int]:
        """How often each charge was asked for."""
        return dict(self._db.execute(ATTEMPTS_BY_KEY).fetchall())

    def _known(self, query: LiteralString, key: str) -> Booking | None:
        row: tuple[Any, ...] | None = self._db.execute(query, (key,)).fetchone()
        if row is None:
            return None
        booking, key, order_id, cents = row
        return Booking(booking, key, order_id, cents, repeated=True)
