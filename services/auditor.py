"""Read everybody's books, and say which order does not add up.

The auditor shares nothing with the runtime or the services: it opens their databases and the gateway's book itself. It
begins from the list that the driver wrote before each start, so an order which vanished everywhere is missed too.

    python -m services.auditor var/demo/world.json          exit code 1: violations, one a line
"""

import json
import sqlite3
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, LiteralString

import psycopg
from psycopg.rows import dict_row

Row = Mapping[str, Any]
Ending = Literal["paid", "cancelled"]

ENDINGS: dict[str, Ending] = {"completed": "paid", "failed": "cancelled", "cancelled": "cancelled"}
UNDO_SUFFIX = ":undo"  # the key of an undo is that of what it undoes, with this behind it
CLOCKS_APART = timedelta(seconds=0.25)  # the gateway's clock and Postgres's; in the demo it is one clock
EXIT_VIOLATIONS = 1

SAGAS: LiteralString = "SELECT id AS order_id, status, ended_at FROM amends.sagas WHERE type = 'checkout'"
SHELVES: LiteralString = "SELECT sku, delivered, quantity FROM shelves"
SERVICE_TABLES: dict[str, tuple[str, LiteralString]] = {
    "orders": ("orders", "SELECT order_id, key, total, created_at AS at, cancelled_at AS back_at FROM orders"),
    "movements": ("stock", "SELECT order_id, key, sku, change, at FROM movements ORDER BY movement"),
    "bookings": (
        "payments",
        "SELECT order_id, key, charge_id, amount, booked_at AS at, refund_id, refunded_at AS back_at FROM charges",
    ),
    "parcels": ("shipping", "SELECT order_id, key, things, packed_at AS at, unpacked_at AS back_at FROM parcels"),
    "shipments": (
        "shipping",
        "SELECT order_id, key, tracking, accepted_at AS at, recalled_at AS back_at FROM shipments",
    ),
    "outcomes": ("analytics", "SELECT order_id, key, outcome, at AS heard_at FROM outcomes"),
}
GATEWAY_TABLES: dict[str, LiteralString] = {
    "charges": "SELECT order_id, key, id, cents, at FROM charges",
    "refunds": "SELECT order_id, key, id, charge_id, cents, at FROM refunds",
    "attempts": "SELECT order_id, key, kind, phase, effect, answer FROM attempts WHERE kind <> 'lookup'",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that must not be, and where a person begins to look."""

    order_id: str
    rule: str
    what: str
    look_at: str


@dataclass(frozen=True, slots=True)
class Placed:
    """An order as the driver wrote it down before it started its saga."""

    order_id: str
    total: Decimal
    items: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Books:
    """All rows of all books: table -> order -> rows. `shelves` belong to no order."""

    placed: Sequence[Placed]
    sagas: Mapping[str, Row]
    shelves: Sequence[Row]
    tables: Mapping[str, Mapping[str, Sequence[Row]]]

    def rows(self, table: str, order_id: str) -> Sequence[Row]:
        """What a book says about an order."""
        return self.tables[table].get(order_id, ())


@dataclass(frozen=True, slots=True)
class Audit:
    """What the auditor found, and what it counted on the way."""

    violations: Sequence[Violation]
    ledgers: Mapping[str, Any] = field(default_factory=dict)


def audit(world_path: Path) -> Audit:
    """Read all books and check every order. Raises what psycopg, sqlite3 and the file system raise."""
    books = read_books(json.loads(world_path.read_text()))
    violations = [*strangers(books), *shelves_add_up(books)]
    for order in books.placed:
        violations += check(order, books)
    return Audit(violations, ledgers(books))


# ---- reading -----------------------------------------------------------------------------------------------------


def read_books(world: Mapping[str, Any]) -> Books:
    """`world`: {"orders": path, "gateway_book": path, "databases": {service: URL}}."""
    urls = world["databases"]
    tables = {name: by_order(read(urls[service], query)) for name, (service, query) in SERVICE_TABLES.items()}
    tables |= {name: by_order(read_sqlite(world["gateway_book"], query)) for name, query in GATEWAY_TABLES.items()}
    sagas = {row["order_id"]: row for row in read(urls["orchestrator"], SAGAS)}
    return Books(read_placed(Path(world["orders"])), sagas, read(urls["stock"], SHELVES), tables)


def read_placed(path: Path) -> list[Placed]:
    """The driver's list. A half line at its end was never acted on: the driver writes before it starts."""
    lines = [line for line in path.read_text().split("\n")[:-1] if line]
    return [placed(json.loads(line)) for line in lines]


def placed(row: Row) -> Placed:
    items: dict[str, int] = defaultdict(int)
    for item in row["items"]:
        items[item["sku"]] += item["quantity"]
    return Placed(row["order_id"], Decimal(row["total"]), dict(items))


def read(url: str, query: LiteralString) -> list[dict[str, Any]]:
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return connection.execute(query).fetchall()


def read_sqlite(path: str, query: str) -> list[dict[str, Any]]:
    """Times become datetimes, as in the other books."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        connection.row_factory = sqlite3.Row
        rows = [dict(row) for row in connection.execute(query)]
    finally:
        connection.close()
    for row in rows:
        if "at" in row:
            row["at"] = datetime.fromtimestamp(row["at"], UTC)
    return rows


def by_order(rows: Iterable[dict[str, Any]]) -> dict[str, list[Row]]:
    out: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        out[row["order_id"]].append(row)
    return dict(out)


# ---- checking one order ------------------------------------------------------------------------------------------


def check(order: Placed, books: Books) -> Iterator[Violation]:
    """Everything about one order."""
    saga = books.sagas.get(order.order_id)
    ending = ENDINGS.get(saga["status"]) if saga else None
    yield from has_ended(order, saga, ending)
    yield from one_key_each(order, books)
    yield from payments_book_agrees(order, books)
    yield from amounts_are_right(order, books)
    if saga and saga["ended_at"]:
        yield from nothing_after_the_end(order, saga["ended_at"], books)
    if ending:
        yield from money(order, ending, books)
        yield from goods(order, ending, books)
        yield from still_standing(order, ending, books)
        yield from one_event(order, ending, books)


def has_ended(order: Placed, saga: Row | None, ending: Ending | None) -> Iterator[Violation]:
    if saga is None:
        yield Violation(order.order_id, "lost", "was placed, but no saga of it exists", "amends.sagas, amends.outbox")
    elif ending is None:
        what = f"its saga is {saga['status']}"
        yield Violation(order.order_id, "not ended", what, f"amends show {order.order_id}")


def one_key_each(order: Placed, books: Books) -> Iterator[Violation]:
    """One operation, one key: two keys in one table are a step that ran again under a new one."""
    for table in ("orders", "movements", "bookings", "parcels", "shipments", "charges", "refunds"):
        keys = {row["key"].removesuffix(UNDO_SUFFIX) for row in books.rows(table, order.order_id)}
        if len(keys) > 1:
            what = f"{table} has rows under {len(keys)} keys: {', '.join(sorted(keys))}"
            yield Violation(order.order_id, "done again under a new key", what, f"amends trace {order.order_id}")


def payments_book_agrees(order: Placed, books: Books) -> Iterator[Violation]:
    """Our payment service and the gateway know the same charges and refunds, by their ids."""
    ours = books.rows("bookings", order.order_id)
    charges = {row["id"] for row in books.rows("charges", order.order_id)}
    refunds = {row["id"] for row in books.rows("refunds", order.order_id)}
    unknown = {row["charge_id"] for row in ours} - charges
    if unknown:
        what = f"payments has booked {', '.join(sorted(unknown))}, which the gateway does not know"
        yield Violation(order.order_id, "books disagree", what, "payments.charges, the gateway's charges")
    # What was charged and refunded without our knowing the charge (an undo in doubt) needs no row of ours.
    unbooked = charges - {row["charge_id"] for row in ours}
    if unbooked and not refunds:
        what = f"the gateway has charged {', '.join(sorted(unbooked))}, which payments has not booked"
        yield Violation(order.order_id, "books disagree", what, "payments.charges, payments' amends.inbox")
    if {row["refund_id"] for row in ours if row["refund_id"]} - refunds:
        what = "payments has booked a refund that the gateway does not know"
        yield Violation(order.order_id, "books disagree", what, "payments.charges, the gateway's refunds")


def amounts_are_right(order: Placed, books: Books) -> Iterator[Violation]:
    for row in (*books.rows("charges", order.order_id), *books.rows("refunds", order.order_id)):
        if row["cents"] != cents(order.total):
            what = f"{row['id']} is over {row['cents']} cents, the order over {cents(order.total)}"
            yield Violation(order.order_id, "wrong amount", what, f"the gateway's attempts of {row['key']}")
    for table, column in (("orders", "total"), ("bookings", "amount")):
        for row in books.rows(table, order.order_id):
            if row[column] != order.total:
                what = f"{table} says {row[column]}, the order {order.total}"
                yield Violation(order.order_id, "wrong amount", what, f"{table}, key {row['key']}")


def nothing_after_the_end(order: Placed, ended_at: datetime, books: Books) -> Iterator[Violation]:
    """A saga ends when all it asked for is settled: who writes later was told by somebody who had been deposed."""
    for table in (*SERVICE_TABLES, "charges", "refunds"):
        for row in books.rows(table, order.order_id):
            times = [row[column] for column in ("at", "back_at") if row.get(column)]
            if times and max(times) > ended_at + CLOCKS_APART:
                what = f"{table} was written {(max(times) - ended_at).total_seconds():.3f} s after the saga had ended"
                yield Violation(order.order_id, "written after the end", what, f"{table}, key {row['key']}")


def money(order: Placed, ending: Ending, books: Books) -> Iterator[Violation]:
    """By the gateway's own book: captured - refunded is the total of a paid order, and nothing of any other."""
    captured = sum(row["cents"] for row in books.rows("charges", order.order_id))
    refunded = sum(row["cents"] for row in books.rows("refunds", order.order_id))
    expected = cents(order.total) if ending == "paid" else 0
    if captured - refunded != expected:
        what = f"is {ending}; {captured} cents captured - {refunded} refunded is not {expected}"
        yield Violation(order.order_id, "money", what, f"the gateway's charges, amends trace {order.order_id}")


def goods(order: Placed, ending: Ending, books: Books) -> Iterator[Violation]:
    """By the stock ledger: what a paid order bought has left the shelf once, what another took is back, once."""
    left: dict[str, int] = defaultdict(int)
    for row in books.rows("movements", order.order_id):
        left[row["sku"]] -= row["change"]
    expected = order.items if ending == "paid" else {}
    for sku in sorted({*left, *expected}):
        if left[sku] != expected.get(sku, 0):
            what = f"is {ending}; {left[sku]} of {sku} have left the shelf, not {expected.get(sku, 0)}"
            yield Violation(order.order_id, "stock", what, "stock.movements")


def still_standing(order: Placed, ending: Ending, books: Books) -> Iterator[Violation]:
    """A paid order has one order row, parcel and shipment that were not taken back; any other has none."""
    for table in ("orders", "parcels", "shipments"):
        standing = sum(row["back_at"] is None for row in books.rows(table, order.order_id))
        if standing != (ending == "paid"):
            what = f"is {ending}, and {table} holds {standing} rows of it that stand"
            yield Violation(order.order_id, table, what, f"{table}, amends trace {order.order_id}")
    things = sum(order.items.values())
    for row in books.rows("parcels", order.order_id):
        if row["things"] != things:
            what = f"the parcel holds {row['things']} things, the order {things}"
            yield Violation(order.order_id, "parcels", what, f"parcels, key {row['key']}")


def one_event(order: Placed, ending: Ending, books: Books) -> Iterator[Violation]:
    """Exactly one OrderPaid or OrderCancelled was consumed, and it tells the truth."""
    heard = [row["outcome"] for row in books.rows("outcomes", order.order_id)]
    if not heard:
        what = f"is {ending}, and analytics never heard of it"
        yield Violation(order.order_id, "event lost", what, "amends.outbox, amends.outbox_dead, topic orders")
    elif len(heard) > 1:
        what = f"analytics heard {len(heard)} times how it ended: {', '.join(heard)}"
        yield Violation(order.order_id, "event twice", what, "analytics' amends.inbox")
    elif heard != [ending]:
        what = f"is {ending}, and analytics heard that it is {heard[0]}"
        yield Violation(order.order_id, "event wrong", what, f"amends show {order.order_id}")


# ---- checking what belongs to no order ---------------------------------------------------------------------------


def strangers(books: Books) -> Iterator[Violation]:
    """Rows about orders that nobody placed."""
    known = {order.order_id for order in books.placed}
    for table, rows in {**books.tables, "sagas": books.sagas}.items():
        for order_id in sorted(set(rows) - known):
            yield Violation(order_id, "nobody placed it", f"{table} has rows of it", table)


def shelves_add_up(books: Books) -> Iterator[Violation]:
    """What lies on a shelf is what was delivered, less what the ledger says has left."""
    change: dict[str, int] = defaultdict(int)
    for rows in books.tables["movements"].values():
        for row in rows:
            change[row["sku"]] += row["change"]
    for shelf in books.shelves:
        expected = shelf["delivered"] + change[shelf["sku"]]
        if shelf["quantity"] != expected or expected < 0:
            what = f"{shelf['quantity']} of {shelf['sku']} on the shelf; delivered and moved give {expected}"
            yield Violation("", "shelf", what, "stock.shelves, stock.movements")


def ledgers(books: Books) -> dict[str, Any]:
    """The sums of each book, and how often an effect was attempted again and found harmless by its key."""

    def every(table: str) -> list[Row]:
        return [row for rows in books.tables[table].values() for row in rows]

    asked: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in every("attempts"):
        asked[row["kind"], row["key"]].append(row)
    booked_once = {(kind, row["key"]) for kind in ("charge", "refund") for row in every(f"{kind}s")}
    return {
        "placed": len(books.placed),
        "captured_cents": sum(row["cents"] for row in every("charges")),
        "refunded_cents": sum(row["cents"] for row in every("refunds")),
        "owed_cents": sum(cents(o.total) for o in books.placed if has_paid(o, books)),
        "booked_by_payments": str(sum((r["amount"] for r in every("bookings") if not r["refund_id"]), Decimal(0))),
        "things_sold": sum(sum(o.items.values()) for o in books.placed if has_paid(o, books)),
        "things_off_the_shelves": sum(shelf["delivered"] - shelf["quantity"] for shelf in books.shelves),
        "shipments": sum(row["back_at"] is None for row in every("shipments")),
        "events_consumed": len(every("outcomes")),
        "double_attempts": sum(len(rows) > 1 for key, rows in asked.items() if key in booked_once),
    }


def has_paid(order: Placed, books: Books) -> bool:
    saga = books.sagas.get(order.order_id)
    return saga is not None and ENDINGS.get(saga["status"]) == "paid"


def cents(amount: Decimal) -> int:
    return int(amount * 100)


def main(arguments: Sequence[str]) -> int:
    """Print what was found, one violation a line."""
    found = audit(Path(arguments[0] if arguments else "var/demo/world.json"))
    for violation in found.violations:
        print(f"{violation.order_id or '-'}: {violation.rule}: {violation.what}. Look at: {violation.look_at}")
    print(json.dumps(found.ledgers, indent=2))
    return EXIT_VIOLATIONS if found.violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
