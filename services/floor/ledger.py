"""What was read so far, by order, and the books that follow from it.

The same row may be read twice, and rows of one order come in any order: each is kept under its own key, so nothing is
counted twice. `settle` makes the books of what was touched and keeps the sums.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from services.floor.books import Book, Status, Totals
from services.floor.limits import ORDERS_KEPT_MAX, ORDERS_MAX

K = TypeVar("K")
V = TypeVar("V")
NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class OrderRow:
    """The order service's. `cents`: what is owed while it is not cancelled."""

    order_id: str
    customer: str
    cents: int
    placed_at: datetime
    is_delivered: bool
    is_cancelled: bool


@dataclass(slots=True)
class Facts:
    """All rows of one order."""

    row: OrderRow | None = None
    movements: dict[int, int] = field(default_factory=dict)
    charges: dict[str, int] = field(default_factory=dict)
    refunds: dict[str, int] = field(default_factory=dict)
    shipments: dict[str, bool] = field(default_factory=dict)  # key -> it stands
    unknown_keys: set[str] = field(default_factory=set)


class Ledger:
    """Not for several threads."""

    def __init__(self) -> None:
        self._facts: dict[str, Facts] = {}
        self._touched: set[str] = set()
        self.books: dict[str, Book] = {}
        self.adrift: dict[str, Book] = {}
        self.totals = Totals()

    def order(self, row: OrderRow) -> None:
        """The order service has this row now."""
        self._of(row.order_id).row = row

    def moved(self, order_id: str, movement: int, change: int) -> bool:
        """Things left a shelf (negative) or came back. Whether that is new."""
        return _put(self._of(order_id).movements, movement, change)

    def charged(self, order_id: str, charge_id: str, cents: int) -> bool:
        """The gateway took money."""
        return _put(self._of(order_id).charges, charge_id, cents)

    def refunded(self, order_id: str, refund_id: str, cents: int) -> bool:
        """The gateway gave money back."""
        return _put(self._of(order_id).refunds, refund_id, cents)

    def shipped(self, order_id: str, key: str, *, stands: bool) -> bool:
        """A courier has it, or (not `stands`) gave it back."""
        return _put(self._of(order_id).shipments, key, stands)

    def answered(self, order_id: str, key: str, *, is_known: bool) -> None:
        """The gateway's latest answer under a key has come (or not), so whoever asked knows (or not)."""
        keys = self._of(order_id).unknown_keys
        (keys.discard if is_known else keys.add)(key)

    def strangers(self) -> list[str]:
        """Orders that the gateway has taken money for, and of which no order row was read."""
        return [one for one in self._touched if self._facts[one].row is None]

    def are_old(self, order_ids: Iterable[str]) -> None:
        """They are in the order service's book, and no more among those that are shown."""
        for order_id in order_ids:
            self._facts.pop(order_id, None)
            self._touched.discard(order_id)

    def settle(self, *, wait_for: Iterable[str] = ()) -> list[Book]:
        """Make the books of all orders of which something was read; return those that are other than before.

        `wait_for`: orders whose row may come with the next reading; they are left for then.
        """
        waiting = set(wait_for)
        books = [book_of(order_id, self._facts[order_id]) for order_id in self._touched - waiting]
        self._touched &= waiting
        changed = [book for book in books if self.books.get(book.order_id) != book]
        for book in changed:
            self._take(book)
        return changed

    def put_away(self) -> list[str]:
        """Forget the oldest that are closed, so that ORDERS_MAX stay; return their ids."""
        surplus = len(self.books) - ORDERS_MAX
        if surplus <= 0:
            return []
        oldest_first = sorted(self.books.values(), key=lambda book: book.placed_at or NEVER)
        gone = [book for book in oldest_first if book.is_closed][:surplus]
        far_too_many = len(self.books) - len(gone) - ORDERS_KEPT_MAX
        if far_too_many > 0:
            gone += [book for book in oldest_first if not book.is_closed][:far_too_many]
        for book in gone:
            self.totals = self.totals.with_book(book, -1)
            del self.books[book.order_id], self._facts[book.order_id]
            self.adrift.pop(book.order_id, None)
        return [book.order_id for book in gone]

    def _of(self, order_id: str) -> Facts:
        self._touched.add(order_id)
        return self._facts.setdefault(order_id, Facts())

    def _take(self, book: Book) -> None:
        before = self.books.get(book.order_id)
        if before is not None:
            self.totals = self.totals.with_book(before, -1)
        self.totals = self.totals.with_book(book)
        self.books[book.order_id] = book
        if book.adrift:
            self.adrift[book.order_id] = book
        else:
            self.adrift.pop(book.order_id, None)


def book_of(order_id: str, facts: Facts) -> Book:
    """What the rows of an order say."""
    row = facts.row
    out = -sum(change for change in facts.movements.values() if change < 0)
    status = _status(facts)
    return Book(
        order_id=order_id,
        status=status,
        customer="" if row is None else row.customer,
        placed_at=None if row is None else row.placed_at,
        owed=0 if row is None else row.cents,
        taken=sum(facts.charges.values()),
        back=sum(facts.refunds.values()),
        refs=(*facts.charges, *facts.refunds),
        stock_out=out,
        stock_back=sum(change for change in facts.movements.values() if change > 0),
        unknown=status == "open" and bool(facts.unknown_keys),
    )


def _status(facts: Facts) -> Status:
    if facts.row is None:
        return "unknown to us"
    if facts.row.is_cancelled:
        return "cancelled"
    # A delivery says so in its row; a checkout is delivered when a courier has its parcel.
    return "delivered" if facts.row.is_delivered or any(facts.shipments.values()) else "open"


def _put(rows: dict[K, V], key: K, value: V) -> bool:
    is_new = rows.get(key) != value
    rows[key] = value
    return is_new
