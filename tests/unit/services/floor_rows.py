"""Rows of the services' books, and of the gateway's, as hypothesis makes them up."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import assert_never

from hypothesis import strategies as st

from services.floor.ledger import Ledger, OrderRow


@dataclass(frozen=True, slots=True)
class OrderIs:
    row: OrderRow


@dataclass(frozen=True, slots=True)
class Charge:
    order_id: str
    charge_id: str
    cents: int


@dataclass(frozen=True, slots=True)
class Refund:
    order_id: str
    refund_id: str
    cents: int


@dataclass(frozen=True, slots=True)
class Moved:
    order_id: str
    movement: int
    change: int


@dataclass(frozen=True, slots=True)
class Shipped:
    order_id: str
    key: str
    stands: bool


Row = OrderIs | Charge | Refund | Moved | Shipped


def take(ledger: Ledger, *rows: Row) -> None:
    """As if they had just been read."""
    for row in rows:
        match row:
            case OrderIs(order):
                ledger.order(order)
            case Charge(order_id, charge_id, cents):
                ledger.charged(order_id, charge_id, cents)
            case Refund(order_id, refund_id, cents):
                ledger.refunded(order_id, refund_id, cents)
            case Moved(order_id, movement, change):
                ledger.moved(order_id, movement, change)
            case Shipped(order_id, key, stands):
                ledger.shipped(order_id, key, stands=stands)
            case _:
                assert_never(row)


def _order(order_id: str, cents: int, state: str) -> OrderIs:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    row = OrderRow(order_id, "Ada", cents, noon, is_delivered=state == "d", is_cancelled=state == "c")
    return OrderIs(row)


ORDER_IDS = st.sampled_from(["order-1", "order-2", "order-3"])
# One id is one row: the same charge never has two amounts.
ROWS: st.SearchStrategy[Row] = st.one_of(
    st.builds(_order, ORDER_IDS, st.just(4500), st.sampled_from("odc")),
    st.builds(lambda order_id, n: Charge(order_id, f"ch_{order_id}_{n}", 4500 + n), ORDER_IDS, st.integers(0, 2)),
    st.builds(lambda order_id, n: Refund(order_id, f"re_{order_id}_{n}", 4500 + n), ORDER_IDS, st.integers(0, 2)),
    st.builds(lambda order_id, n: Moved(order_id, n, n - 3), ORDER_IDS, st.integers(0, 6)),
    st.builds(Shipped, ORDER_IDS, st.just("key"), st.booleans()),
)
