"""SIGKILL to each process that a delivery needs, before the provider's word and after it: nobody loses anything."""

from decimal import Decimal
from random import Random

import pytest

from tests.deadlines import eventually
from tests.integration.services.delivery.shop import PATIENT, SELLING, Shop

pytestmark = [pytest.mark.serial, PATIENT]

ENDED = ("completed", "failed")
STORM_ORDERS, STORM_KILLS, SEED = 24, 16, 20_261


@pytest.mark.parametrize("victim", SELLING)
def test_who_was_dead_when_the_provider_spoke_does_no_harm(shop: Shop, victim: str) -> None:
    paid, refused = shop.order(), shop.order()
    for order in (paid, refused):
        shop.asked(order)
    shop.kill(victim)
    if victim == "gateway":
        shop.start(victim)  # its own page is needed for what follows
    shop.pay(paid)
    shop.refuse(refused)
    shop.start(victim)
    books_agree(shop, paid, refused)


@pytest.mark.parametrize("victim", SELLING)
def test_who_dies_when_the_provider_was_just_heard_does_no_harm(shop: Shop, victim: str) -> None:
    paid, refused = shop.order(), shop.order()
    for order in (paid, refused):
        shop.asked(order)
    shop.pay(paid)
    shop.refuse(refused)
    shop.heard(paid)
    shop.restart(victim)
    books_agree(shop, paid, refused)


@pytest.mark.parametrize("victim", ["payments", "gateway", "orchestrator", "relay"])
def test_who_dies_while_the_payment_is_taken_back_does_no_harm(shop: Shop, victim: str) -> None:
    """Paid in time, but the webhook is dead: the saga gives up, and the money has to go back."""
    order = shop.order(pay_within_s=2)
    shop.asked(order)
    shop.kill("webhook")
    shop.pay(order)
    taking_back = "SELECT 1 FROM attempts WHERE order_id = ? AND kind = 'cancel'"
    eventually(lambda: shop.provider(taking_back, order), 60, "it is being taken back")
    shop.restart(victim)
    shop.ended(order, "failed")
    assert shop.ledger(order) == (4500, 4500)
    shop.start("webhook")
    shop.told_all(order)
    assert shop.violations([order]) == []


def test_whoever_dies_at_whatever_moment_the_books_agree(shop: Shop) -> None:
    """Kills by chance while orders are placed, paid, refused, forgotten, and paid too late."""
    chance, orders = Random(SEED), []
    for n in range(STORM_ORDERS):
        orders.append(shop.order(pay_within_s=4 if n % 3 == 2 else 600))
        if n % 3:
            answer(shop, chance.choice(orders), chance)
        if n < STORM_KILLS:
            shop.restart(SELLING[n % len(SELLING)])
    for order in orders:
        answer(shop, order, chance)
    for order in orders:
        eventually(lambda: shop.status(order) in ENDED, 120, f"{order} has ended")  # noqa: B023
    shop.told_all(*orders)
    assert shop.violations(orders) == []
    assert {shop.status(order) for order in orders} == set(ENDED)
    shop.start("analytics")  # who was away all the time, and hears of all of it
    figures = {order: (Decimal("45.00"), False) for order in orders if shop.status(order) == "completed"}
    lost = len(orders) - len(figures)
    eventually(lambda: len(counted(shop, orders, is_cancelled=True)) == lost, 90, "each cancelled one is taken back")
    eventually(lambda: figures == counted(shop, orders, is_cancelled=False), 90, "each sale is counted, once")
    shelves = shop.rows("stock", "SELECT sku, delivered, quantity FROM shelves")
    moved = {r["sku"]: r["n"] for r in shop.rows("stock", "SELECT sku, sum(change) AS n FROM movements GROUP BY sku")}
    assert all(row["quantity"] == row["delivered"] + moved.get(row["sku"], 0) for row in shelves)


def counted(shop: Shop, orders: list[str], *, is_cancelled: bool) -> dict[str, tuple[Decimal, bool]]:
    """What analytics makes of these orders."""
    query = "SELECT order_id, paid, is_cancelled FROM sales WHERE order_id = ANY(%s) AND is_cancelled = %s"
    rows = shop.rows("analytics", query, orders, is_cancelled)
    return {row["order_id"]: (row["paid"], row["is_cancelled"]) for row in rows}


def answer(shop: Shop, order: str, chance: Random) -> None:
    """As customers do: most pay. Who is asked again, or too late, is told 409."""
    if shop.status(order) in ENDED:
        return
    payment = "SELECT id FROM payments WHERE order_id = ?"
    eventually(lambda: shop.status(order) in ENDED or shop.provider(payment, order), 120, f"{order} can be paid")
    if shop.provider(payment, order):
        said = shop.pay(order) if chance.random() < 0.7 else shop.refuse(order)
        assert said.status_code in (200, 409), said.text


def books_agree(shop: Shop, paid: str, refused: str) -> None:
    shop.ended(paid, "completed", 120)
    shop.ended(refused, "failed", 120)
    shop.told_all(paid, refused)
    assert shop.ledger(paid) == (4500, 0)
    assert shop.ledger(refused) == (0, 0)
    assert shop.violations([paid, refused]) == []
