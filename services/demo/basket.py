"""What is ordered: order n is the same in every run with the same seed, and every twenty hold each kind of trouble."""

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Literal

from services.contracts import Item, Order

Script = Literal["success", "out of stock", "card declined", "answer lost", "answer late", "shipping refused"]

PRICES = {
    "pen": Decimal("2.50"),
    "notebook": Decimal("7.20"),
    "lamp": Decimal("39.00"),
    "chair": Decimal("119.95"),
    "unicorn": Decimal("999.00"),
}
DELIVERED: Mapping[str, int] = {"pen": 100_000, "notebook": 100_000, "lamp": 50_000, "chair": 20_000, "unicorn": 0}
CUSTOMERS = ("Ada", "Barbara", "Edsger", "Grace", "Leslie", "Tony")
CARDS: Mapping[Script, str] = {
    "card declined": "4000-0000-0000-0002",
    "answer lost": "4000-0000-0000-0119",
    "answer late": "4000-0000-0000-0259",
}
GOOD_CARD = "4242-4242-4242-4242"

# Which of twenty orders in a row are trouble; all others go well, if they are let.
TROUBLE: Mapping[int, Script] = {
    2: "shipping refused",
    3: "out of stock",
    5: "card declined",
    7: "answer lost",
    8: "shipping refused",
    11: "shipping refused",
    13: "out of stock",
    14: "answer late",
    16: "card declined",
    18: "shipping refused",
}
CYCLE = 20


def script_of(n: int) -> Script:
    """What is to go wrong with order n (from 0)."""
    return TROUBLE.get(n % CYCLE, "success")


def order_of(n: int, seed: int) -> Order:
    """Order n."""
    chance, script = Random(f"{seed}:{n}"), script_of(n)
    goods = chance.sample(sorted(set(PRICES) - {"unicorn"}), chance.randint(1, 3))
    items = [Item(sku=sku, quantity=chance.randint(1, 3)) for sku in goods]
    if script == "out of stock":
        items.append(Item(sku="unicorn", quantity=1))
    return Order(
        order_id=f"order-{n:04}",
        customer=chance.choice(CUSTOMERS),
        country="Atlantis" if script == "shipping refused" else chance.choice(("Chile", "Finland", "Japan", "Kenya")),
        card=CARDS.get(script, GOOD_CARD),
        items=items,
        total=sum((PRICES[item.sku] * item.quantity for item in items), Decimal(0)),
    )


class OrderList:
    """The file that the auditor begins from: an order stands in it, whole, before anybody else hears of it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w")

    def add(self, n: int, order: Order) -> None:
        """Write one line."""
        row = {**order.model_dump(mode="json"), "saga_id": order.order_id, "script": script_of(n)}
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def close(self) -> None:
        """No more orders."""
        self._file.close()
