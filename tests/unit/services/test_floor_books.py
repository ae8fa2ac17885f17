"""The floor's arithmetic: whatever is read, in whatever order and however often, each cent is somewhere."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.floor import ledger as ledger_module
from services.floor.books import Book, Totals, amount
from services.floor.ledger import Ledger, OrderRow
from tests.unit.services.floor_rows import ROWS, Charge, Moved, OrderIs, Refund, Row, Shipped, take

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def row(order_id: str = "order-1", cents: int = 4500, *, delivered: bool = False, cancelled: bool = False) -> OrderRow:
    return OrderRow(order_id, "Ada", cents, NOON, is_delivered=delivered, is_cancelled=cancelled)


def book_of(*rows: Row) -> Book:
    ledger = Ledger()
    take(ledger, *rows)
    ledger.settle()
    return ledger.books["order-1"]


def test_money_of_an_open_order_is_open_and_nothing_is_adrift() -> None:
    book = book_of(OrderIs(row()), Charge("order-1", "ch_1", 4500))
    assert (book.status, book.open, book.adrift) == ("open", 4500, 0)


def test_a_delivered_order_must_have_what_it_owes() -> None:
    delivered = OrderIs(row(delivered=True))
    assert book_of(delivered, Charge("order-1", "ch_1", 4500)).adrift == 0
    assert book_of(delivered).adrift == -4500
    twice = book_of(delivered, Charge("order-1", "ch_1", 4500), Charge("order-1", "ch_2", 4500))
    assert (twice.adrift, twice.is_closed) == (4500, False)


def test_a_checkout_is_delivered_when_a_courier_has_it_and_open_again_when_it_is_recalled() -> None:
    assert book_of(OrderIs(row()), Shipped("order-1", "k", stands=True)).status == "delivered"
    assert book_of(OrderIs(row()), Shipped("order-1", "k", stands=False)).status == "open"


def test_a_cancelled_order_must_have_nothing() -> None:
    cancelled, charge = OrderIs(row(cancelled=True)), Charge("order-1", "ch_1", 4500)
    assert book_of(cancelled, charge).adrift == 4500
    given_back = book_of(cancelled, charge, Refund("order-1", "re_1", 4500))
    assert (given_back.adrift, given_back.is_closed, given_back.refs) == (0, True, ("ch_1", "re_1"))


def test_money_for_an_order_that_nobody_wrote_down_is_adrift() -> None:
    book = book_of(Charge("order-1", "ch_1", 4500))
    assert (book.status, book.adrift, book.open) == ("unknown to us", 4500, 0)


def test_an_unknown_answer_shows_while_the_order_is_open_only() -> None:
    ledger = Ledger()
    ledger.order(row())
    ledger.answered("order-1", "key", is_known=False)
    ledger.settle()
    assert ledger.books["order-1"].unknown
    ledger.order(row(cancelled=True))
    ledger.settle()
    assert not ledger.books["order-1"].unknown


@given(st.lists(ROWS, max_size=40), st.randoms())
def test_taken_is_back_and_delivered_and_open_and_adrift(rows: list[Row], chance: Random) -> None:
    """Settled after each row or once at the end, each row read once or twice: the sums are those of the books."""
    stepwise, at_once = Ledger(), Ledger()
    for one in rows:
        take(stepwise, *[one] * chance.randint(1, 2))
        stepwise.settle()
        take(at_once, one)
    at_once.settle()
    assert stepwise.books == at_once.books
    for ledger in (stepwise, at_once):
        counted = Totals()
        for book in ledger.books.values():
            counted = counted.with_book(book)
            assert book.net == book.open + book.delivered + book.adrift
        assert ledger.totals == counted
        assert counted.taken - counted.back == counted.delivered + counted.open + counted.adrift
        assert counted.adrift == sum(book.adrift for book in ledger.adrift.values())
        assert set(ledger.adrift) == {name for name, book in ledger.books.items() if book.adrift}


@given(st.lists(ROWS, max_size=40))
def test_the_order_of_reading_changes_nothing_but_what_an_order_row_itself_says(rows: list[Row]) -> None:
    """Two looks at one order row come in their order, as from a table; all else may come in any."""
    facts = [one for one in rows if not isinstance(one, OrderIs | Shipped)]
    states = [one for one in rows if isinstance(one, OrderIs | Shipped)]
    first, second = Ledger(), Ledger()
    take(first, *states, *facts)
    take(second, *reversed(facts), *states)
    first.settle()
    second.settle()
    assert first.totals == second.totals


def test_only_what_has_changed_is_told() -> None:
    ledger = Ledger()
    take(ledger, OrderIs(row()), OrderIs(row("order-2")))
    assert {book.order_id for book in ledger.settle()} == {"order-1", "order-2"}
    take(ledger, OrderIs(row()), Charge("order-2", "ch_1", 4500))
    assert [book.order_id for book in ledger.settle()] == ["order-2"]


def test_closed_orders_are_put_away_and_open_ones_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger()
    for number in range(6):
        placed_at = NOON + timedelta(seconds=number)
        ledger.order(OrderRow(f"order-{number}", "Ada", 0, placed_at, is_delivered=number < 4, is_cancelled=False))
    ledger.charged("order-0", "ch_1", 4500)  # delivered, with too much money: it must not get out of sight
    ledger.settle()
    monkeypatch.setattr(ledger_module, "ORDERS_MAX", 4)
    assert ledger.put_away() == ["order-1", "order-2"]
    assert sorted(ledger.books) == ["order-0", "order-3", "order-4", "order-5"]
    assert (ledger.totals.orders, ledger.totals.adrift) == (4, 4500)


def test_an_order_whose_row_may_come_with_the_next_look_waits_for_it() -> None:
    ledger = Ledger()
    take(ledger, Charge("order-1", "ch_1", 4500))
    assert ledger.strangers() == ["order-1"]
    assert ledger.settle(wait_for=["order-1"]) == []
    take(ledger, OrderIs(row()))
    assert [book.adrift for book in ledger.settle()] == [0]


def test_what_was_put_away_is_forgotten_when_more_of_it_is_read() -> None:
    ledger = Ledger()
    take(ledger, Refund("order-1", "re_1", 4500))
    ledger.are_old(["order-1"])
    assert ledger.settle() == []
    assert ledger.totals == Totals()


def test_goods_are_counted_by_their_direction() -> None:
    book = book_of(OrderIs(row()), Moved("order-1", 1, -3), Moved("order-1", 2, -2), Moved("order-1", 3, 3))
    assert (book.stock_out, book.stock_back) == (5, 3)


def test_amounts_have_two_decimals() -> None:
    assert [amount(cents) for cents in (0, 5, 4500, -12345)] == ["0.00", "0.05", "45.00", "-123.45"]
