"""The delivery: it waits for the money, and either the meal is brought or nothing is left of the order."""

from decimal import Decimal
from typing import Any

import pytest

from orchestrator import Command
from orchestrator.testing import Fake, SimulatedSaga, Simulation
from services import contracts as c
from services.delivery.menu import ADDRESS_WITHOUT_COURIER, GOOD_ADDRESS, GOOD_CARD, PRICES, total
from services.delivery.saga import BROUGHT_BY_US, delivery

DISHES = [c.Item(sku="nasi lemak", quantity=2), c.Item(sku="teh tarik", quantity=6)]
ORDER = c.FoodOrder(
    order_id="order-1", customer="Ada", address=GOOD_ADDRESS, card=GOOD_CARD, dishes=DISHES, total=total(DISHES)
)
BEFORE_THE_PIVOT: list[type[Command[Any]]] = [c.PlaceOrder, c.ReserveDishes, c.RequestPayment, c.MarkPaid]
BEHIND_IT: list[type[Command[Any]]] = [c.PrintLabel, c.BookCourier, c.MarkDelivered]
PAID = c.PaymentSettled(payment_id="pay-1", amount=Decimal("45.00"))


def shop() -> tuple[Simulation, dict[type[Command[Any]], Fake[Any, Any]]]:
    sim = Simulation()
    fakes = {command: sim.fake(command) for command in (*BEFORE_THE_PIVOT, *BEHIND_IT)}
    for command in (c.PlaceOrder, c.ReserveDishes, c.MarkPaid, c.MarkDelivered):
        fakes[command].answer(None)
    fakes[c.RequestPayment].answer(c.Requested(payment_id="pay-1", pay_at="/payments/pay-1"))
    fakes[c.PrintLabel].answer(c.Label(label_id="label-1"))
    fakes[c.BookCourier].answer(c.Courier(tracking="ride-1"))
    return sim, fakes


def standing(fakes: dict[type[Command[Any]], Fake[Any, Any]]) -> list[type[Command[Any]]]:
    return [command for command, fake in fakes.items() if fake.effects]


def undone(saga: SimulatedSaga[Any]) -> list[type[Command[Any]]]:
    return [type(command) for command in saga.undone]


def test_the_total_is_what_the_menu_says() -> None:
    assert ORDER.total == 2 * PRICES["nasi lemak"] + 6 * PRICES["teh tarik"] == Decimal("45.00")


def test_a_meal_is_brought_when_the_money_is_there_and_not_before() -> None:
    sim, fakes = shop()
    saga = sim.start(delivery, ORDER)
    assert standing(fakes) == BEFORE_THE_PIVOT[:-1]
    saga.send(PAID)
    assert saga.result == c.Delivered(order_id="order-1", payment_id="pay-1", tracking="ride-1")
    assert standing(fakes) == [*BEFORE_THE_PIVOT, *BEHIND_IT]
    assert saga.published == []  # the order service says it all


def test_a_message_that_came_before_the_saga_waits_is_not_lost() -> None:
    sim, fakes = shop()
    fakes[c.RequestPayment].answer(c.Requested(payment_id="pay-1", pay_at="/payments/pay-1"), after_s=30)
    saga = sim.start(delivery, ORDER)
    saga.send(PAID)
    assert saga.waiting_for == ["RequestPayment"]
    sim.advance(30)
    assert saga.result.payment_id == "pay-1"


@pytest.mark.parametrize("refused", [True, False], ids=["refused", "nobody paid"])
def test_without_the_money_everything_is_taken_back_newest_first(*, refused: bool) -> None:
    sim, fakes = shop()
    saga = sim.start(delivery, ORDER)
    if refused:
        saga.send(c.PaymentRefused(payment_id="pay-1", reason="declined"))
    else:
        sim.advance(ORDER.pay_within_s - 1)
        assert standing(fakes) == BEFORE_THE_PIVOT[:-1]
        sim.advance(1)
    with pytest.raises(c.NotPaid, match="declined" if refused else "nobody paid within 60 s"):
        saga.result  # noqa: B018
    assert undone(saga) == [c.RequestPayment, c.ReserveDishes, c.PlaceOrder]
    assert standing(fakes) == []


def test_what_is_sold_out_is_never_asked_money_for() -> None:
    sim, fakes = shop()
    fakes[c.ReserveDishes].fail(c.OutOfStock(sku="durian cendol", left=0))
    saga = sim.start(delivery, ORDER)
    with pytest.raises(c.OutOfStock):
        saga.result  # noqa: B018
    assert undone(saga) == [c.PlaceOrder]
    assert standing(fakes) == []


def test_without_a_courier_it_is_stuck_and_a_person_may_send_somebody_else() -> None:
    sim, fakes = shop()
    fakes[c.BookCourier].fail(c.NoCourier(address=ADDRESS_WITHOUT_COURIER))
    saga = sim.start(delivery, ORDER)
    saga.send(PAID)
    assert saga.status == "stuck"
    assert standing(fakes) == BEFORE_THE_PIVOT
    saga.verb("skip", "Bo brings it")
    assert saga.result.tracking == BROUGHT_BY_US


def test_a_refused_refund_is_stuck_until_the_bank_has_decided() -> None:
    sim, fakes = shop()
    fakes[c.RequestPayment].fail_undo(c.RefundRefused(payment_id="pay-1", reason="in dispute"), times=1)
    saga = sim.start(delivery, ORDER)
    saga.send(c.PaymentRefused(payment_id="pay-1", reason="disputed"))
    assert saga.status == "stuck"
    assert standing(fakes) == BEFORE_THE_PIVOT[:-1]
    saga.verb("retry")
    with pytest.raises(c.NotPaid, match="disputed"):
        saga.result  # noqa: B018
    assert standing(fakes) == []
