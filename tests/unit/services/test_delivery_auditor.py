"""Bugs are planted in books that agree, one a test: the auditor names the rule. (That it reads real books is shown
where real orders are sold: tests/integration/services/delivery.)
"""

from collections.abc import Callable
from copy import deepcopy
from decimal import Decimal
from typing import Any

import pytest

from services.delivery.auditor import Books, check, report
from services.delivery.saga import BROUGHT_BY_US

Tables = dict[str, dict[str, list[dict[str, Any]]]]
AT = 1.0
INPUT = {"total": "45.00", "dishes": [{"sku": "satay", "quantity": 2}, {"sku": "satay", "quantity": 1}]}


def tables(order: str, delivered: bool) -> Tables:
    paid = {"order_id": order, "state": "paid" if delivered else "refunded", "id": f"pay {order}", "cents": 4500}
    refund = None if delivered else f"re {order}"
    marks = {"paid_at": AT, "delivered_at": AT, "cancelled_at": None}
    marks = marks if delivered else {"paid_at": None, "delivered_at": None, "cancelled_at": AT}
    moved = [-3] if delivered else [-3, 3]
    result = {"tracking": f"ride {order}"} if delivered else None
    rows: dict[str, list[dict[str, Any]]] = {
        "sagas": [{"status": "completed" if delivered else "failed", "input": INPUT, "result": result}],
        "orders": [{"total": Decimal("45.00"), **marks}],
        "movements": [{"sku": "satay", "change": change} for change in moved],
        "requests": [{"payment_id": f"pay {order}", "refund_id": refund}],
        "events": [{"event_id": f"evt {order}", "type": "payment.paid"}],
        "labels": [{"back_at": None}] if delivered else [],
        "rides": [{"back_at": None}] if delivered else [],
        "payments": [{**paid, "taken_at": AT, "refund_id": refund, "back_at": None if delivered else AT}],
        "owed": [{"event_id": f"evt {order}", "type": "payment.paid", "heard_at": AT}],
    }
    return {name: {order: found} for name, found in rows.items()}


def clean() -> Tables:
    sold, lost = tables("sold", delivered=True), tables("lost", delivered=False)
    return {name: {**sold[name], **lost[name]} for name in sold}


def found(books: Tables) -> set[tuple[str, str]]:
    return {(v.order_id, v.rule) for order in ("sold", "lost") for v in check(order, Books(books))}


def change(table: str, order: str, **columns: Any) -> Callable[[Tables], None]:
    return lambda books: books[table][order][0].update(columns)


def remove(table: str, order: str) -> Callable[[Tables], None]:
    return lambda books: books[table][order].pop()


def again(table: str, order: str) -> Callable[[Tables], None]:
    return lambda books: books[table][order].append(deepcopy(books[table][order][0]))


BUGS: dict[str, tuple[Callable[[Tables], None], str, str]] = {
    "a refund left out": (change("payments", "lost", back_at=None), "lost", "money"),
    "a delivered meal refunded": (change("payments", "sold", back_at=AT), "sold", "money"),
    "nothing taken for a meal": (change("payments", "sold", taken_at=None), "sold", "money"),
    "asked for twice": (again("payments", "sold"), "sold", "asked twice"),
    "a payment left open": (change("payments", "lost", state="pending"), "lost", "still to be paid"),
    "a payment that we do not know": (remove("requests", "sold"), "sold", "books disagree"),
    "a payment that only we know": (remove("payments", "lost"), "lost", "books disagree"),
    "another refund than we know": (change("requests", "lost", refund_id="re x"), "lost", "books disagree"),
    "an event that the provider never said": (change("events", "sold", event_id="evt x"), "sold", "forged"),
    "a webhook that was answered and lost": (remove("events", "sold"), "sold", "webhook lost"),
    "no order row": (remove("orders", "sold"), "sold", "orders"),
    "two order rows": (again("orders", "sold"), "sold", "orders"),
    "cancelled, and its row stands": (change("orders", "lost", cancelled_at=None), "lost", "orders"),
    "cancelled, and marked paid": (change("orders", "lost", paid_at=AT), "lost", "orders"),
    "another total": (change("orders", "sold", total=Decimal("45.01")), "sold", "orders"),
    "dishes not put back": (remove("movements", "lost"), "lost", "stock"),
    "dishes put back twice": (lambda b: b["movements"]["lost"].append(b["movements"]["lost"][1]), "lost", "stock"),
    "dishes taken twice": (again("movements", "sold"), "sold", "stock"),
    "no courier": (remove("rides", "sold"), "sold", "rides"),
    "two couriers": (again("rides", "sold"), "sold", "rides"),
    "a label for nobody": (lambda b: b["labels"]["lost"].append({"back_at": None}), "lost", "labels"),
    "a saga that is stuck": (change("sagas", "lost", status="stuck"), "lost", "not ended"),
    "a saga that was lost": (remove("sagas", "sold"), "sold", "lost"),
}


def test_books_that_agree_are_not_accused() -> None:
    assert found(clean()) == set()


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_is_found_and_nobody_else_accused(bug: str) -> None:
    plant, order, rule = BUGS[bug]
    books = clean()
    plant(books)
    accused = found(books)
    assert (order, rule) in accused
    assert {who for who, _ in accused} == {order}


def test_what_somebody_of_ours_brought_needs_no_courier() -> None:
    books = clean()
    books["sagas"]["sold"][0]["result"] = {"tracking": BROUGHT_BY_US}
    books["labels"]["sold"].clear()
    books["rides"]["sold"].clear()
    assert found(books) == set()


def test_what_has_not_ended_is_counted_and_accuses_nobody() -> None:
    books = clean()
    assert list(report(Books(books))) == ["2 deliveries; no violations"]
    books["sagas"]["sold"][0]["status"] = "running"
    [counted] = report(Books(books))
    assert counted == "2 deliveries, of which 1 have not ended and can't be judged yet (amends ls); no violations"
    books["payments"]["lost"][0]["back_at"] = None
    accused, counted = report(Books(books))
    assert accused.startswith("lost: money: ")
    assert counted.endswith("; 1 violations")
