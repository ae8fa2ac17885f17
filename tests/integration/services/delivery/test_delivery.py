"""Orders on real servers and real processes, and how each kind of them ends in everybody's books."""

import pytest

from services.contracts import Item
from services.delivery import menu
from services.delivery.saga import delivery
from tests.deadlines import eventually
from tests.integration.services.delivery.shop import PATIENT, Shop

pytestmark = PATIENT

CENTS = 4500


def test_a_meal_is_paid_for_and_brought(shop: Shop) -> None:
    order = shop.order()
    payment = shop.asked(order)
    assert shop.pay(order).json()["state"] == "paid"
    shop.ended(order, "completed")
    shop.told_all(order)
    assert shop.ledger(order) == (CENTS, 0)
    assert shop.client.result(delivery, order).payment_id == payment
    assert shop.violations([order]) == []


@pytest.mark.serial
@pytest.mark.parametrize("how", ["refuses", "has no money"])
def test_who_does_not_pay_gets_nothing_and_leaves_nothing(shop: Shop, how: str) -> None:
    order = shop.order()
    shop.asked(order)
    if how == "refuses":
        shop.refuse(order)
    else:
        assert shop.pay(order, menu.DECLINED_CARD).status_code == 402
    shop.ended(order, "failed")
    assert shop.ledger(order) == (0, 0)
    assert shop.violations([order]) == []


@pytest.mark.serial
def test_when_nobody_pays_the_payment_is_closed_and_nobody_can_pay_it_later(shop: Shop) -> None:
    order = shop.order(pay_within_s=1)
    shop.asked(order)
    shop.ended(order, "failed")
    assert shop.pay(order).status_code == 409
    assert shop.ledger(order) == (0, 0)
    assert shop.violations([order]) == []


@pytest.mark.serial
def test_what_is_sold_out_is_never_asked_money_for(shop: Shop) -> None:
    order = shop.order(dishes=[Item(sku="satay", quantity=1), Item(sku=menu.SOLD_OUT, quantity=1)])
    shop.ended(order, "failed")
    assert shop.provider("SELECT id FROM payments WHERE order_id = ?", order) == []
    assert shop.violations([order]) == []


@pytest.mark.serial
def test_without_a_courier_a_person_decides_and_the_meal_is_brought_all_the_same(shop: Shop) -> None:
    order = shop.order(address=menu.ADDRESS_WITHOUT_COURIER)
    shop.asked(order)
    shop.pay(order)
    shop.ended(order, "stuck")
    assert [v.rule for v in shop.violations([order])] == ["not ended"]
    shop.client.skip(order, note="Bo brings it on his bicycle")
    shop.ended(order, "completed")
    assert shop.ledger(order) == (CENTS, 0)
    assert shop.violations([order]) == []


@pytest.mark.serial
def test_a_disputed_payment_is_stuck_until_the_bank_has_decided(shop: Shop) -> None:
    order = shop.order(card=menu.DISPUTED_CARD)
    payment = shop.asked(order)
    shop.pay(order)
    shop.ended(order, "stuck")
    assert shop.ledger(order) == (CENTS, 0)
    shop.gateway.post(f"/admin/disputes/{payment}/withdraw").raise_for_status()
    shop.client.retry(order)
    shop.ended(order, "failed")
    shop.told_all(order)
    assert shop.ledger(order) == (CENTS, CENTS)
    assert shop.violations([order]) == []


@pytest.mark.serial
def test_a_provider_that_loses_answers_tells_twice_and_is_asked_once(shop: Shop) -> None:
    shop.gateway.post("/admin/phase", json={"phase": "loses"}).raise_for_status()
    paid, refused = shop.order(), shop.order()
    payments = [shop.asked(order) for order in (paid, refused)]
    shop.pay(paid)
    shop.refuse(refused)
    shop.ended(paid, "completed")
    shop.ended(refused, "failed")
    shop.told_all(paid, refused)
    twice = "SELECT attempts FROM webhooks JOIN payments ON payments.id = payment_id WHERE order_id = ?"
    assert all(row["attempts"] > 1 for row in shop.provider(twice, paid))
    heard = shop.rows("payments", "SELECT type FROM provider_events WHERE payment_id = %s", payments[0])
    assert [row["type"] for row in heard] == ["payment.paid"]
    assert shop.violations([paid, refused]) == []


@pytest.mark.serial
def test_a_provider_that_is_down_is_waited_for(shop: Shop) -> None:
    shop.gateway.post("/admin/phase", json={"phase": "down"}).raise_for_status()
    order = shop.order()
    tried = "SELECT count(*) AS n FROM attempts WHERE order_id = ?"
    eventually(lambda: shop.provider(tried, order)[0]["n"] > 0, 60, "it is asked")
    shop.gateway.post("/admin/phase", json={"phase": "normal"}).raise_for_status()
    shop.asked(order)
    shop.pay(order)
    shop.ended(order, "completed")
    assert shop.violations([order]) == []
