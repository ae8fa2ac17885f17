"""The arithmetic of the floor: one order in three books, and the sum of all. Pure; amounts in cents.

`net` is what the gateway took for an order less what it gave back. A delivered order must have what it owes, a
cancelled one nothing; whatever differs is adrift. While an order is open its net is open, too.

    taken - back = delivered + open + adrift
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Status = Literal["open", "delivered", "cancelled", "unknown to us"]
"""`unknown to us`: the gateway took money for an order that no book of ours has. All of it is adrift."""


@dataclass(frozen=True, slots=True)
class Book:
    """One order, as the services and the gateway have it."""

    order_id: str
    status: Status
    customer: str = ""
    placed_at: datetime | None = None
    owed: int = 0
    taken: int = 0
    back: int = 0
    refs: tuple[str, ...] = ()
    stock_out: int = 0
    stock_back: int = 0
    unknown: bool = False

    @property
    def net(self) -> int:
        """What the gateway holds for it."""
        return self.taken - self.back

    @property
    def open(self) -> int:
        """What is in flight."""
        return self.net if self.status == "open" else 0

    @property
    def delivered(self) -> int:
        """What is earned."""
        return self.owed if self.status == "delivered" else 0

    @property
    def cancelled(self) -> int:
        """What is owed no more."""
        return self.owed if self.status == "cancelled" else 0

    @property
    def adrift(self) -> int:
        """What nobody can account for; negative if the gateway holds too little."""
        return self.net - self.open - self.delivered

    @property
    def is_closed(self) -> bool:
        """Nothing more is to come, and it adds up."""
        return self.status != "open" and self.adrift == 0

    def shown(self) -> Mapping[str, Any]:
        """As the page reads it."""
        return {
            "order_id": self.order_id,
            "saga_id": self.order_id,
            "customer": self.customer,
            "dishes": self.stock_out,
            "placed_at": None if self.placed_at is None else self.placed_at.isoformat(),
            "gateway": {"taken": amount(self.taken), "back": amount(self.back), "refs": list(self.refs)},
            "order": {"owed": amount(self.owed), "cancelled": amount(self.cancelled), "status": self.status},
            "stock": {"out": self.stock_out, "back": self.stock_back},
            "open": amount(self.open),
            "unknown": self.unknown,
        }


@dataclass(frozen=True, slots=True)
class Totals:
    """The sums over all books; `adrift` is a sum of signed amounts, so look at who is adrift, too."""

    orders: int = 0
    taken: int = 0
    back: int = 0
    delivered: int = 0
    open: int = 0
    open_count: int = 0
    adrift: int = 0
    owed: int = 0
    cancelled: int = 0
    stock_out: int = 0
    stock_back: int = 0

    def with_book(self, book: Book, times: Literal[1, -1] = 1) -> "Totals":
        """With this book counted, or (-1) no more."""
        return Totals(
            orders=self.orders + times,
            taken=self.taken + times * book.taken,
            back=self.back + times * book.back,
            delivered=self.delivered + times * book.delivered,
            open=self.open + times * book.open,
            open_count=self.open_count + times * (book.status == "open"),
            adrift=self.adrift + times * book.adrift,
            owed=self.owed + times * book.owed,
            cancelled=self.cancelled + times * book.cancelled,
            stock_out=self.stock_out + times * book.stock_out,
            stock_back=self.stock_back + times * book.stock_back,
        )

    def shown(self) -> dict[str, Any]:
        """As the page reads it, but for who is adrift and since when it is so."""
        counts = ("orders", "open_count", "stock_out", "stock_back")
        amounts = ("taken", "back", "delivered", "open", "adrift", "owed", "cancelled")
        return {name: getattr(self, name) for name in counts} | {name: amount(getattr(self, name)) for name in amounts}


def amount(cents: int) -> str:
    """Ringgit with two decimals: 4500 is `45.00`."""
    sign, whole = "-" if cents < 0 else "", abs(cents)
    return f"{sign}{whole // 100}.{whole % 100:02}"
