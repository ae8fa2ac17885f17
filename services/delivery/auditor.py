"""Read everybody's books about deliveries, and say which order does not add up.

As `services/auditor.py` it shares nothing with what it audits. It asks the provider's book about money, the order
service's about the order, the stock ledger about dishes; an order that stands in one of them stands in all, and what
was taken back has left nothing over in any.

    python -m services.delivery.auditor var/play.json          exit code 1: violations, one a line
"""

import json
import sqlite3
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, LiteralString

import psycopg
from psycopg.rows import dict_row

Row = Mapping[str, Any]
Ending = Literal["delivered", "cancelled"]

ENDINGS: dict[str, Ending] = {"completed": "delivered", "failed": "cancelled", "cancelled": "cancelled"}
BROUGHT_BY_US = "brought by us"
EXIT_VIOLATIONS = 1
NOT_ENDED = "not ended"

SERVICE_TABLES: dict[str, tuple[str, LiteralString]] = {
    "sagas": (
        "orchestrator",
        # The saga of an order has its id. Its row has the input until its first turn, from there on the journal has it.
        """SELECT id AS order_id, status, coalesce(input::json, body::json->0->'input') AS input, result::json AS result
        FROM amends.sagas LEFT JOIN amends.journal ON journal.saga_no = sagas.saga_no AND pos = 0
        WHERE type = 'delivery'""",
    ),
    "orders": ("orders", "SELECT order_id, total, paid_at, delivered_at, cancelled_at FROM orders"),
    "movements": ("stock", "SELECT order_id, sku, change FROM movements ORDER BY movement"),
    "requests": ("payments", "SELECT order_id, payment_id, amount, closed_at, refund_id FROM payment_requests"),
    "events": (
        "payments",
        "SELECT order_id, event_id, type FROM provider_events JOIN payment_requests USING (payment_id)",
    ),
    "labels": ("shipping", "SELECT order_id, label_id, voided_at AS back_at FROM labels"),
    "rides": ("shipping", "SELECT order_id, tracking, called_off_at AS back_at FROM rides"),
}
PROVIDER_TABLES: dict[str, LiteralString] = {
    "payments": "SELECT order_id, id, cents, state, taken_at, refund_id, back_at FROM payments",
    "owed": "SELECT order_id, event_id, type, heard_at, due_at FROM webhooks JOIN payments ON payments.id = payment_id",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that must not be, and where a person begins to look."""

    order_id: str
    rule: str
    what: str
    look_at: str


@dataclass(frozen=True, slots=True)
class Books:
    """All rows about deliveries: table -> order -> rows."""

    tables: Mapping[str, Mapping[str, Sequence[Row]]]

    def rows(self, table: str, order_id: str) -> Sequence[Row]:
        """What a book says about an order."""
        return self.tables[table].get(order_id, ())

    def orders(self) -> list[str]:
        """Every order that any book of a delivery names."""
        return sorted({order for table in ("sagas", "requests", "payments") for order in self.tables[table]})


def audit(world: Mapping[str, Any], order_ids: Iterable[str] | None = None) -> list[Violation]:
    """Check these orders, or all. `world`: {"gateway_book": path, "databases": {service: URL}}."""
    books = read_books(world)
    wanted = books.orders() if order_ids is None else list(order_ids)
    return [violation for order_id in wanted for violation in check(order_id, books)]


# ---- reading -----------------------------------------------------------------------------------------------------


def read_books(world: Mapping[str, Any]) -> Books:
    urls = world["databases"]
    tables = {name: by_order(read(urls[service], query)) for name, (service, query) in SERVICE_TABLES.items()}
    return Books(tables | {n: by_order(read_sqlite(world["gateway_book"], q)) for n, q in PROVIDER_TABLES.items()})


def read(url: str, query: LiteralString) -> list[dict[str, Any]]:
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return connection.execute(query).fetchall()


def read_sqlite(path: str, query: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query)]


def by_order(rows: Iterable[dict[str, Any]]) -> dict[str, list[Row]]:
    out: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        out[row["order_id"]].append(row)
    return dict(out)


# ---- checking one order ------------------------------------------------------------------------------------------


def check(order_id: str, books: Books) -> Iterator[Violation]:
    """Everything about one order."""
    sagas = books.rows("sagas", order_id)
    if len(sagas) != 1:
        yield Violation(order_id, "lost", f"{len(sagas)} sagas of it exist", "amends.sagas, amends.outbox")
        return
    (saga,) = sagas
    ending = ENDINGS.get(saga["status"])
    if ending is None:
        yield Violation(order_id, NOT_ENDED, f"its saga is {saga['status']}", f"amends show {order_id}")
        return
    yield from money(order_id, ending, Decimal(saga["input"]["total"]), books)
    yield from payments_book_agrees(order_id, books)
    yield from events_are_the_providers(order_id, books)
    yield from order_row(order_id, ending, Decimal(saga["input"]["total"]), books)
    yield from dishes(order_id, ending, saga["input"]["dishes"], books)
    yield from courier(order_id, saga, ending, books)


def money(order_id: str, ending: Ending, total: Decimal, books: Books) -> Iterator[Violation]:
    """By the provider's own book: it holds the total of a delivered order, and nothing of any other."""
    payments = books.rows("payments", order_id)
    if len(payments) > 1:
        yield Violation(order_id, "asked twice", f"the provider has {len(payments)} payments of it", "its payments")
    taken = sum(row["cents"] for row in payments if row["taken_at"])
    back = sum(row["cents"] for row in payments if row["back_at"])
    expected = int(total * 100) if ending == "delivered" else 0
    if taken - back != expected:
        what = f"is {ending}; {taken} cents taken - {back} given back is not {expected}"
        yield Violation(order_id, "money", what, "the provider's payments")
    for row in payments:
        if row["state"] == "pending":
            yield Violation(order_id, "still to be paid", f"{row['id']} can still be paid", "the provider's payments")


def payments_book_agrees(order_id: str, books: Books) -> Iterator[Violation]:
    """Our payment service and the provider know the same payments and refunds, by their ids."""
    ours = {row["payment_id"]: row for row in books.rows("requests", order_id)}
    theirs = {row["id"]: row for row in books.rows("payments", order_id)}
    for payment_id in ours.keys() - theirs.keys():
        yield Violation(order_id, "books disagree", f"the provider does not know {payment_id}", "payment_requests")
    for payment_id, row in theirs.items():
        ours_row = ours.get(payment_id)
        # What was asked for and closed without our knowing it (an undo in doubt) needs no row of ours.
        if ours_row is None and row["state"] not in ("cancelled", "refunded", "refused"):
            yield Violation(order_id, "books disagree", f"payments does not know {payment_id}", "payment_requests")
        if ours_row is not None and ours_row["refund_id"] != row["refund_id"]:
            what = f"refund {ours_row['refund_id']} in our book is {row['refund_id']} in the provider's"
            yield Violation(order_id, "books disagree", what, "payment_requests, the provider's payments")


def events_are_the_providers(order_id: str, books: Books) -> Iterator[Violation]:
    """What we have heard, the provider has said; what it thinks that we have heard, we have."""
    heard = {row["event_id"] for row in books.rows("events", order_id)}
    owed = books.rows("owed", order_id)
    if forged := heard - {row["event_id"] for row in owed}:
        yield Violation(order_id, "forged", f"the provider never said {', '.join(sorted(forged))}", "provider_events")
    requested = {row["payment_id"] for row in books.rows("requests", order_id)}
    if lost := {row["event_id"] for row in owed if row["heard_at"]} - heard if requested else set():
        what = f"the provider was told that {', '.join(sorted(lost))} is heard, and it is not"
        yield Violation(order_id, "webhook lost", what, "provider_events, the provider's webhooks")


def order_row(order_id: str, ending: Ending, total: Decimal, books: Books) -> Iterator[Violation]:
    """One row, of this total, that says how it ended. An order that was cancelled at once may have none."""
    rows = books.rows("orders", order_id)
    if len(rows) > 1 or (not rows and ending == "delivered"):
        yield Violation(order_id, "orders", f"is {ending}, and has {len(rows)} rows", "orders")
    for row in rows:
        if row["total"] != total:
            yield Violation(order_id, "orders", f"is over {row['total']}, not {total}", "orders")
        marks = tuple(row[column] is not None for column in ("paid_at", "delivered_at", "cancelled_at"))
        if marks != ((True, True, False) if ending == "delivered" else (False, False, True)):
            what = f"is {ending}; paid, delivered, cancelled stand at {marks}"
            yield Violation(order_id, "orders", what, "orders")


def dishes(order_id: str, ending: Ending, ordered: Iterable[Row], books: Books) -> Iterator[Violation]:
    """By the stock ledger: what a delivered order holds has left the shelf once; of any other nothing has."""
    left: dict[str, int] = defaultdict(int)
    expected: dict[str, int] = defaultdict(int)
    for row in books.rows("movements", order_id):
        left[row["sku"]] -= row["change"]
    for dish in ordered if ending == "delivered" else ():
        expected[dish["sku"]] += dish["quantity"]
    for sku in sorted({*left, *expected}):
        if left[sku] != expected[sku]:
            what = f"is {ending}; {left[sku]} of {sku} have left the shelf, not {expected[sku]}"
            yield Violation(order_id, "stock", what, "stock.movements")


def courier(order_id: str, saga: Row, ending: Ending, books: Books) -> Iterator[Violation]:
    """One label and one ride stand for what a courier brings, and none for anything else."""
    tracking = (saga["result"] or {}).get("tracking")
    expected = int(ending == "delivered" and tracking != BROUGHT_BY_US)
    for table in ("labels", "rides"):
        standing = sum(row["back_at"] is None for row in books.rows(table, order_id))
        if standing != expected:
            yield Violation(order_id, table, f"is {ending}, and {standing} of them stand", f"shipping.{table}")


def main(arguments: Sequence[str]) -> int:
    """Print what was found, one violation a line, and of how many orders; what has not ended is only counted."""
    world = json.loads(Path(arguments[0] if arguments else "var/play.json").read_text())
    print("\n".join(told := list(report(read_books(world)))))
    return EXIT_VIOLATIONS if len(told) > 1 else 0


def report(books: Books) -> Iterator[str]:
    """A line a violation, and one that counts."""
    found = [violation for order_id in books.orders() for violation in check(order_id, books)]
    violations = [one for one in found if one.rule != NOT_ENDED]
    for one in violations:
        yield f"{one.order_id}: {one.rule}: {one.what}. Look at: {one.look_at}"
    open_count = len(found) - len(violations)
    still = f", of which {open_count} have not ended and can't be judged yet (amends ls)" if open_count else ""
    yield f"{len(books.orders())} deliveries{still}; {len(violations) or 'no'} violations"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
