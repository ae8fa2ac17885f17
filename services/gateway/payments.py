"""Payments that a customer makes on the gateway's own page, and what is due to be told about them: both in the book.

A payment changes its state and gets its webhook in one transaction, so that a gateway which dies between the two owes
nobody a word. `ledger` is the whole book in one view, charges and payments alike.
"""

import json
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, LiteralString

from services.gateway.script import CARDS

State = Literal["pending", "paid", "refused", "disputed", "cancelled", "refunded"]
Act = Literal["pay", "refuse", "dispute", "cancel", "withdraw"]

TABLES: LiteralString = """
CREATE TABLE IF NOT EXISTS payments (
    id TEXT PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    order_id TEXT NOT NULL,
    card TEXT NOT NULL,
    cents INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'paid', 'refused', 'disputed', 'cancelled', 'refunded')),
    at REAL NOT NULL,
    taken_at REAL,
    refund_id TEXT,
    back_at REAL
);
CREATE INDEX IF NOT EXISTS payments_order ON payments (order_id);
CREATE TABLE IF NOT EXISTS webhooks (
    event_id TEXT PRIMARY KEY,
    payment_id TEXT NOT NULL,
    type TEXT NOT NULL,
    body TEXT NOT NULL,
    at REAL NOT NULL,
    due_at REAL,
    attempts INTEGER NOT NULL DEFAULT 0,
    heard_at REAL,
    answer TEXT
);
CREATE INDEX IF NOT EXISTS webhooks_due ON webhooks (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS webhooks_payment ON webhooks (payment_id);
CREATE VIEW IF NOT EXISTS ledger (order_id, ref, key, taken_cents, back_cents, at) AS
    SELECT order_id, id, key, cents, 0, at FROM charges
    UNION ALL SELECT order_id, id, key, 0, cents, at FROM refunds
    UNION ALL SELECT order_id, id, key, cents, 0, taken_at FROM payments WHERE taken_at IS NOT NULL
    UNION ALL SELECT order_id, refund_id, key, 0, cents, back_at FROM payments WHERE back_at IS NOT NULL;
"""

COLUMNS: LiteralString = "id, key, order_id, card, cents, state, refund_id"
OF_ID: LiteralString = f"SELECT {COLUMNS} FROM payments WHERE id = ?"
OF_KEY: LiteralString = f"SELECT {COLUMNS} FROM payments WHERE key = ?"
OF_ORDER: LiteralString = f"SELECT {COLUMNS} FROM payments WHERE order_id = ? ORDER BY at"
ADD: LiteralString = (
    "INSERT INTO payments (id, key, order_id, card, cents, state, at) VALUES (?, ?, ?, ?, ?, 'pending', ?)"
)
MOVE: LiteralString = """
UPDATE payments SET state = :after, card = :card,
    taken_at = CASE WHEN :after IN ('paid', 'disputed') THEN coalesce(taken_at, :now) ELSE taken_at END,
    refund_id = CASE WHEN :after = 'refunded' THEN :refund_id ELSE refund_id END,
    back_at = CASE WHEN :after = 'refunded' THEN :now ELSE back_at END
WHERE id = :id AND state = :before
"""
OWE: LiteralString = "INSERT INTO webhooks (event_id, payment_id, type, body, at, due_at) VALUES (?, ?, ?, ?, ?, ?)"
DUE: LiteralString = "SELECT event_id, body, attempts, at FROM webhooks WHERE due_at <= ? ORDER BY due_at LIMIT ?"
HEARD: LiteralString = (
    "UPDATE webhooks SET due_at = NULL, heard_at = ?, attempts = attempts + 1, answer = ? WHERE event_id = ?"
)
AGAIN: LiteralString = "UPDATE webhooks SET due_at = ?, attempts = attempts + 1, answer = ? WHERE event_id = ?"

# (state, what somebody does): the state after. What is missing can't be done, and is answered with a 409.
MOVES: dict[tuple[State, Act], State] = {
    ("pending", "pay"): "paid",
    ("pending", "refuse"): "refused",
    ("pending", "dispute"): "disputed",  # the money is taken, and the card's bank wants to know what for
    ("disputed", "withdraw"): "paid",  # the bank has decided for the shop
    # Nobody can pay it any more, and who has paid has it back. Asked again, it is so already.
    ("pending", "cancel"): "cancelled",
    ("paid", "cancel"): "refunded",
    ("refused", "cancel"): "refused",
    ("cancelled", "cancel"): "cancelled",
    ("refunded", "cancel"): "refunded",
}


class NoSuchPayment(Exception):
    """No payment has this id."""


class NotNow(Exception):
    """A payment in this state can't be moved so."""


class PaymentKeyUsedDifferently(Exception):
    """The same idempotency key came with another body."""


@dataclass(frozen=True, slots=True)
class Payment:
    """As it stands in the book. `repeated`: it was there already under this key."""

    id: str
    key: str
    order_id: str
    card: str
    cents: int
    state: State
    refund_id: str | None
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Owed:
    """A webhook that is due. `body` is what is signed and sent, byte for byte the same each time."""

    event_id: str
    body: str
    attempts: int
    at_s: float


class Payments:
    """The part of the book that is about payments, on the book's own connection."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        db.executescript(TABLES)

    def create(self, key: str, order_id: str, card: str, cents: int) -> Payment:
        """Ask for a payment, once a key. Raises PaymentKeyUsedDifferently."""
        found = self.of_key(key)
        if found is None:
            new = Payment(f"pay_{uuid.uuid4().hex[:16]}", key, order_id, card, cents, "pending", None)
            self._db.execute(ADD, (new.id, key, order_id, card, cents, time.time()))
            return new
        if (found.order_id, found.cents) != (order_id, cents):
            raise PaymentKeyUsedDifferently(f"{key} was used for {found.order_id}, {found.cents} cents")
        return found

    def of_key(self, key: str) -> Payment | None:
        """The payment under this key, if there is one."""
        row = self._db.execute(OF_KEY, (key,)).fetchone()
        return None if row is None else replace(Payment(*row), repeated=True)

    def of_order(self, order_id: str) -> list[Payment]:
        """All payments of an order, oldest first."""
        return [Payment(*row) for row in self._db.execute(OF_ORDER, (order_id,)).fetchall()]

    def of_id(self, payment_id: str) -> Payment:
        """Raises NoSuchPayment."""
        row = self._db.execute(OF_ID, (payment_id,)).fetchone()
        if row is None:
            raise NoSuchPayment(payment_id)
        return Payment(*row)

    def pay(self, payment_id: str, card: str | None) -> Payment:
        """The customer pays; the card says what comes of it. Raises NoSuchPayment, NotNow."""
        card = card or self.of_id(payment_id).card
        match CARDS.get(card):
            case "decline":
                return self.move(payment_id, "refuse", card)
            case "dispute":
                return self.move(payment_id, "dispute", card)
            case _:
                return self.move(payment_id, "pay", card)

    def move(self, payment_id: str, act: Act, card: str | None = None) -> Payment:
        """Do this to a payment, and owe a webhook if that changed it. Raises NoSuchPayment, NotNow."""
        with self._transaction():
            before = self.of_id(payment_id)
            after = MOVES.get((before.state, act))
            if after is None:
                raise NotNow(f"{payment_id} is {before.state}")
            if after != before.state:
                params = {"after": after, "before": before.state, "card": card or before.card, "id": payment_id}
                self._db.execute(MOVE, {**params, "now": time.time(), "refund_id": f"re_{uuid.uuid4().hex[:16]}"})
                self._owe(self.of_id(payment_id))
            return self.of_id(payment_id)

    def due(self, at_most: int) -> list[Owed]:
        """The webhooks that are to be sent now, those that waited longest first."""
        return [Owed(*row) for row in self._db.execute(DUE, (time.time(), at_most)).fetchall()]

    def heard(self, event_id: str, answer: str) -> None:
        """The shop has it."""
        self._db.execute(HEARD, (time.time(), answer, event_id))

    def send_again(self, event_id: str, due_at: float | None, answer: str) -> None:
        """The shop may not have it. `due_at` None: give it up."""
        self._db.execute(AGAIN, (due_at, answer, event_id))

    def _owe(self, payment: Payment) -> None:
        now, event_id, kind = time.time(), f"evt_{uuid.uuid4().hex[:16]}", f"payment.{payment.state}"
        body = json.dumps({"id": event_id, "type": kind, "created": now, "payment": shown(payment)})
        self._db.execute(OWE, (event_id, payment.id, kind, body, now, now))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def shown(payment: Payment) -> dict[str, Any]:
    """A payment as customers and webhooks show it."""
    return {
        "id": payment.id,
        "order_id": payment.order_id,
        "amount": f"{payment.cents / 100:.2f}",
        "state": payment.state,
        "refund_id": payment.refund_id,
        "pay_at": f"/payments/{payment.id}",
    }
