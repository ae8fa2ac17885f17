"""Tests of a saga, in virtual time and without a server."""

from datetime import timedelta
from decimal import Decimal

import pytest
from access import AccessDenied, AccessRequest, Decision, access
from checkout import checkout
from contracts import (
    ChargeCard,
    Charged,
    Courier,
    Item,
    Label,
    Order,
    PaymentSettled,
    PrintLabel,
    Reserved,
    ReserveStock,
    SendCourier,
)
from orchestrator import SagaFailed
from orchestrator.testing import Simulation

ORDER = Order(order_id="7", customer="Ada", card="4242", items=[Item(sku="tea", quantity=1)], total=Decimal("45.00"))


@pytest.fixture
def shop(sim: Simulation) -> Simulation:
    sim.fake(ReserveStock).answer(lambda cmd: Reserved(reservation=cmd.order_id))
    sim.fake(ChargeCard).answer(Charged(charge_id="c1"))
    sim.fake(PrintLabel).answer(Label(tracking="t1"))
    sim.fake(SendCourier).answer(lambda cmd: Courier(name=cmd.provider, minutes=5))
    return sim


def test_paid(shop: Simulation) -> None:
    order = shop.start(checkout, ORDER)
    order.send(PaymentSettled(reference="p1"))
    assert order.result.tracking == "t1"
    assert not order.undone


def test_no_payment_takes_everything_back(shop: Simulation) -> None:
    order = shop.start(checkout, ORDER)
    shop.advance(timedelta(minutes=1))
    with pytest.raises(SagaFailed):
        order.result
    assert [type(command) for command in order.undone] == [ChargeCard, ReserveStock]


def test_the_answer_is_lost_after_the_charge(shop: Simulation) -> None:
    charge = shop.fake(ChargeCard)
    charge.silence(took_effect=True)
    order = shop.start(checkout, ORDER)
    shop.advance(timedelta(seconds=30))
    with pytest.raises(SagaFailed):
        order.result
    assert not charge.effects


def test_after_a_week_of_silence_the_manager_is_asked(sim: Simulation) -> None:
    request = sim.start(access, AccessRequest(request_id="r", user="ada", role="admin"))
    sim.advance(timedelta(days=7))
    assert request.get("waiting for", str) == "head"
    request.send(Decision(verdict="denied"), channel="head")
    with pytest.raises(AccessDenied):
        request.result
