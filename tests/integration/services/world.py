"""A shop's books with a few orders in them, written by hand: what the services would write, or would with a bug."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from services import analytics, orders, payments, shipping, stock
from services.gateway.book import Book

SERVICES = {"orders": orders, "stock": stock, "payments": payments, "shipping": shipping, "analytics": analytics}
ENGINE_SQL = Path(__file__).parents[3] / "orchestrator" / "engine" / "sql" / "0001_engine.sql"
PENS = {"sku": "pen", "quantity": 2}
TOTAL, CENTS = "12.50", 1250
TRUNCATE = {
    "orchestrator": "TRUNCATE amends.sagas",
    "orders": "TRUNCATE orders",
    "stock": "TRUNCATE movements, shelves",
    "payments": "TRUNCATE charges",
    "shipping": "TRUNCATE parcels, shipments",
    "analytics": "TRUNCATE outcomes",
}


def build(urls: Mapping[str, str]) -> None:
    """The real tables in six databases."""
    with psycopg.connect(urls["orchestrator"]) as connection:
        connection.execute("CREATE SCHEMA amends")
        connection.execute(ENGINE_SQL.read_bytes())
    for name, service in SERVICES.items():
        service.create_tables(urls[name])


@dataclass
class World:
    """`sql` and `gateway` write into the books; the rest tells what happened to an order."""

    urls: Mapping[str, str]
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "world.json"

    def empty(self) -> None:
        for name, statement in TRUNCATE.items():
            self.sql(name, statement)
        self.sql("stock", "INSERT INTO shelves VALUES ('pen', 100, 100), ('unicorn', 0, 0)")
        Book(self.folder / "book").close()
        (self.folder / "orders.jsonl").write_text("")
        paths = {"orders": str(self.folder / "orders.jsonl"), "gateway_book": str(self.folder / "book")}
        self.path.write_text(json.dumps({**paths, "databases": dict(self.urls)}))

    def sql(self, service: str, statement: str, *params: Any) -> None:
        with psycopg.connect(self.urls[service]) as connection:
            connection.execute(statement.encode(), params)

    def gateway(self, statement: str, *params: Any) -> None:
        book = Book(self.folder / "book")
        book._db.execute(statement, params)
        book.close()

    # ---- what services do

    def place(self, order: str, sku: str = "pen") -> None:
        row = {"order_id": order, "total": TOTAL, "items": [{"sku": sku, "quantity": 2}]}
        with (self.folder / "orders.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        self.sql("orders", "INSERT INTO orders VALUES (%s, %s, 'ada', 12.50)", f"{order}:0:0", order)

    def move(self, order: str, change: int, key: str = "") -> None:
        self.sql("stock", "UPDATE shelves SET quantity = quantity + %s WHERE sku = 'pen'", change)
        insert = "INSERT INTO movements (key, order_id, sku, change) VALUES (%s, %s, 'pen', %s)"
        self.sql("stock", insert, key or f"{order}:0:1", order, change)

    def charge(self, order: str, key: str = "", cents: int = CENTS) -> None:
        key = key or f"{order}:0:2"
        self.gateway("INSERT INTO charges VALUES (?, ?, ?, 'card', ?, ?)", f"ch {key}", key, order, cents, time.time())
        self.attempt("charge", order, key)
        insert = "INSERT INTO charges (charge_id, key, order_id, amount) VALUES (%s, %s, %s, %s)"
        self.sql("payments", insert, f"ch {key}", key, order, cents / 100)

    def refund(self, order: str, suffix: str = ":undo") -> None:
        key = f"{order}:0:2{suffix}"
        insert = "INSERT INTO refunds VALUES (?, ?, ?, ?, ?, ?)"
        self.gateway(insert, f"re {key}", key, f"ch {order}:0:2", order, CENTS, time.time())
        update = "UPDATE charges SET refund_id = %s, refunded_at = clock_timestamp() WHERE order_id = %s"
        self.sql("payments", update, f"re {key}", order)

    def attempt(self, kind: str, order: str, key: str, effect: str = "booked") -> None:
        insert = "INSERT INTO attempts (kind, key, order_id, phase, began_at, effect) VALUES (?, ?, ?, 'normal', 0, ?)"
        self.gateway(insert, kind, key, order, effect)

    def ship(self, order: str, key: str = "") -> None:
        self.sql("shipping", "INSERT INTO shipments VALUES (%s, %s, 't')", key or f"{order}:0:4", order)

    def pack(self, order: str) -> None:
        self.sql("shipping", "INSERT INTO parcels VALUES (%s, %s, 2)", f"{order}:0:3", order)

    def hear(self, order: str, outcome: str) -> None:
        self.sql("analytics", "INSERT INTO outcomes (order_id, outcome, key) VALUES (%s, %s, 'e')", order, outcome)

    def end(self, order: str, status: str) -> None:
        insert = """
            INSERT INTO amends.sagas (id, uid, type, version, shard, status, input, input_hash, ended_at)
            VALUES (%s, gen_random_uuid(), 'checkout', 1, 0, %s, '{}', '', clock_timestamp())
        """
        self.sql("orchestrator", insert, order, status)
        self.hear(order, "paid" if status == "completed" else "cancelled")

    def take_back(self, order: str) -> None:
        self.sql("shipping", "UPDATE parcels SET unpacked_at = clock_timestamp() WHERE order_id = %s", order)
        self.sql("orders", "UPDATE orders SET cancelled_at = clock_timestamp() WHERE order_id = %s", order)

    # ---- how an order ends

    def paid(self, order: str) -> None:
        self.place(order)
        self.move(order, -2)
        self.charge(order)
        self.pack(order)
        self.ship(order)
        self.end(order, "completed")

    def out_of_stock(self, order: str) -> None:
        self.place(order, "unicorn")
        self.take_back(order)
        self.end(order, "failed")

    def declined(self, order: str) -> None:
        self.place(order)
        self.move(order, -2)
        self.attempt("charge", order, f"{order}:0:2", "declined")
        self.move(order, 2, f"{order}:0:1:undo")
        self.take_back(order)
        self.end(order, "failed")

    def shipping_refused(self, order: str) -> None:
        self.place(order)
        self.move(order, -2)
        self.charge(order)
        self.pack(order)
        self.refund(order)
        self.move(order, 2, f"{order}:0:1:undo")
        self.take_back(order)
        self.end(order, "failed")
