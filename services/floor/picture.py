"""What the floor shows at this moment, and as which event each part of it travels."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from services.floor.ledger import Ledger
from services.floor.limits import ADRIFT_SHOWN_MAX

Part = tuple[Literal["book", "plug", "gateway", "breaker", "pace", "stream"], str]
"""What has changed: of a book the order, of a plug its name; else there is only one."""

Event = tuple[str, Mapping[str, Any]]
GATEWAY: Part = ("gateway", "")
BREAKER: Part = ("breaker", "")
PACE: Part = ("pace", "")
STREAM: Part = ("stream", "")


@dataclass(slots=True)
class Picture:
    """The latest of everything; only `watch` and the stream of orders change it."""

    ledger: Ledger = field(default_factory=Ledger)
    as_of: datetime | None = None
    plugs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    mode: str | None = None
    breaker: Mapping[str, Any] = field(default_factory=dict)
    pace: Sequence[Mapping[str, Any]] = ()
    per_s: float = 0

    def all(self) -> Event:
        """The first event of a stream."""
        return "all", {
            "orders": [book.shown() for book in self.ledger.books.values()],
            "totals": self.totals(),
            "plugs": list(self.plugs.values()),
            "gateway": {"mode": self.mode},
            "breaker": self.breaker,
            "pace": list(self.pace),
            "stream_per_s": self.per_s,
        }

    def patches(self, parts: Iterable[Part]) -> Iterator[Event]:
        """One event for each kind of change, but one for each plug; the sums go with the books."""
        changed = set(parts)
        books = [self.ledger.books[name] for kind, name in changed if kind == "book" and name in self.ledger.books]
        if any(kind == "book" for kind, _ in changed):
            yield "books", {"orders": [book.shown() for book in books], "totals": self.totals()}
        for kind, name in sorted(changed):
            if kind == "plug" and name in self.plugs:
                yield "plug", self.plugs[name]
        if GATEWAY in changed:
            yield "gateway", {"mode": self.mode}
        if BREAKER in changed:
            yield "breaker", self.breaker
        if PACE in changed and self.pace:
            yield "pace", self.pace[-1]
        if STREAM in changed:
            yield "stream", {"per_s": self.per_s}

    def totals(self) -> Mapping[str, Any]:
        """`as_of`: when the books were last read, from the first to the last of them."""
        return {
            **self.ledger.totals.shown(),
            "adrift_orders": list(self.ledger.adrift)[:ADRIFT_SHOWN_MAX],
            "as_of": (self.as_of or datetime.fromtimestamp(0, UTC)).isoformat(),
        }
