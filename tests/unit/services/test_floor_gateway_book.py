"""The floor reads what the gateway writes: the gateway's own classes write here, into its own file."""

from pathlib import Path

import pytest

from services.floor.gateway_book import GatewayBook
from services.floor.ledger import Ledger
from services.floor.limits import WINDOW_CALLS_MAX
from services.floor.pace import Pace
from services.gateway.book import Answer, Book
from services.gateway.payments import Payments


class Bench:
    """A gateway's book, and who reads it."""

    def __init__(self, path: Path) -> None:
        self.book = Book(path)
        self.payments = Payments(self.book.connection)
        self.reader = GatewayBook(path)
        self.ledger = Ledger()

    def read(self) -> bool:
        moved = self.reader.read(self.ledger, Pace())
        self.ledger.settle()
        return moved

    def call(self, key: str, answer: Answer | None, *, order_id: str | None = "order-1", kind: str = "charge") -> int:
        number = self.book.begin(kind, key, order_id, "normal")  # type: ignore[arg-type]
        if answer is not None:
            self.book.end(number, answer)
        return number


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "gateway.sqlite")


def test_before_the_gateways_first_start_there_is_nothing(tmp_path: Path) -> None:
    assert not GatewayBook(tmp_path / "none.sqlite").read(Ledger(), Pace())


def test_charges_and_refunds_are_read_once_each(bench: Bench) -> None:
    charge = bench.book.charge("k", "order-1", "4242", 4500)
    bench.read()
    refund = bench.book.refund("k:undo", charge.id)
    bench.read()
    bench.read()
    book = bench.ledger.books["order-1"]
    assert (book.taken, book.back, book.refs) == (4500, 4500, (charge.id, refund.id))


def test_a_payment_is_taken_when_it_is_paid_and_given_back_when_it_is_cancelled(bench: Bench) -> None:
    payment = bench.payments.create("k", "order-1", "4242", 4500)
    bench.read()
    assert "order-1" not in bench.ledger.books
    bench.payments.pay(payment.id, None)
    bench.read()
    assert (bench.ledger.books["order-1"].taken, bench.ledger.books["order-1"].back) == (4500, 0)
    bench.payments.move(payment.id, "cancel")
    bench.read()
    assert (bench.ledger.books["order-1"].taken, bench.ledger.books["order-1"].back) == (4500, 4500)


def test_money_is_what_the_gateways_own_ledger_says(bench: Bench) -> None:
    for number in range(30):
        order_id, key = f"order-{number % 7}", f"k{number}"
        if number % 2:
            charge = bench.book.charge(key, order_id, "4242", 100 + number)
            if number % 3 == 0:
                bench.book.refund(f"{key}:undo", charge.id)
        else:
            payment = bench.payments.create(key, order_id, "4242", 100 + number)
            if number % 4 == 0:
                bench.payments.pay(payment.id, None)
            if number % 3 == 0:
                bench.payments.move(payment.id, "cancel")
        if number % 5 == 0:
            bench.read()
    bench.read()
    rows = bench.book.connection.execute(
        "SELECT order_id, sum(taken_cents), sum(back_cents) FROM ledger GROUP BY order_id"
    )
    assert {(one.order_id, one.taken, one.back) for one in bench.ledger.books.values()} == set(rows.fetchall())


def test_the_window_is_of_calls_that_have_ended_in_the_order_in_which_it_was_seen(bench: Bench) -> None:
    slow = bench.call("slow", None)
    bench.call("b", "turned away")
    bench.call("c", "hung up")
    assert bench.read()
    assert list(bench.reader.window) == ["failed", "unknown"]
    assert bench.reader.failed_in_a_row == 2
    assert not bench.read()
    bench.book.end(slow, "sent")
    assert bench.read()
    assert list(bench.reader.window) == ["failed", "unknown", "ok"]
    assert bench.reader.failed_in_a_row == 0


def test_the_window_has_an_end(bench: Bench) -> None:
    for number in range(WINDOW_CALLS_MAX + 5):
        bench.call(f"k{number}", "sent" if number < 5 else "lost")
    bench.read()
    assert list(bench.reader.window) == ["unknown"] * WINDOW_CALLS_MAX


@pytest.mark.parametrize(
    ("key", "kind", "order_id"),
    [("k", "charge", "order-1"), ("k", "lookup", None), ("k:undo", "refund", "order-1"), ("", "lookup", "order-1")],
)
def test_a_lost_answer_is_unknown_until_one_about_it_arrives(
    bench: Bench, key: str, kind: str, order_id: str | None
) -> None:
    def is_unknown() -> bool:
        return bool(bench.ledger._facts["order-1"].unknown_keys)

    bench.call("k", "lost")
    bench.call("other", "sent", order_id="order-2")
    bench.read()
    assert is_unknown()
    bench.call(key, "turned away", kind=kind, order_id=order_id)
    bench.read()
    assert is_unknown()
    bench.call(key, "sent", kind=kind, order_id=order_id)
    bench.read()
    assert not is_unknown()
