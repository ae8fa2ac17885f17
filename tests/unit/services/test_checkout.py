"""The checkout, all of it or none of it: every call fails in every way, and each time the books are asked."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from orchestrator import Command, Failure, SagaFailed, Transient
from orchestrator.testing import Fake, Simulation
from services import contracts as c
from services.checkout import PATIENCE_WITH_GATEWAY, checkout

ORDER = c.Order(
    order_id="order-1",
    customer="Ada",
    country="Chile",
    card="4242",
    items=[c.Item(sku="pen", quantity=2)],
    total=Decimal("5.00"),
)
CALLS: list[type[Command[Any]]] = [c.CreateOrder, c.ReserveStock, c.ChargeCard, c.PackParcel, c.Dispatch]
FAILURES: dict[type[Command[Any]], Failure] = {
    c.ReserveStock: c.OutOfStock(sku="pen", left=1),
    c.ChargeCard: c.CardDeclined(reason="no money"),
    c.Dispatch: c.ShippingRefused(reason="too far"),
}
PAID = [c.OrderPaid(order_id="order-1", customer="Ada", total=Decimal("5.00"))]
CANCELLED = [c.OrderCancelled(order_id="order-1", customer="Ada")]
A_DAY = timedelta(days=1)


def shop() -> tuple[Simulation, dict[type[Command[Any]], Fake[Any, Any]]]:
    sim = Simulation()
    fakes = {command: sim.fake(command) for command in CALLS}
    for command in (c.CreateOrder, c.ReserveStock, c.PackParcel):
        fakes[command].answer(None)
    fakes[c.ChargeCard].answer(c.Charged(charge_id="ch-1"))
    fakes[c.Dispatch].answer(c.Dispatched(tracking="track-1"))
    return sim, fakes


def done(fakes: dict[type[Command[Any]], Fake[Any, Any]]) -> list[str]:
    """The commands whose effect stands."""
    return [command.__name__ for command, fake in fakes.items() if fake.effects]


def test_a_checkout_that_goes_well() -> None:
    sim, fakes = shop()
    saga = sim.start(checkout, ORDER)
    assert saga.result == c.Receipt(order_id="order-1", charge_id="ch-1", tracking="track-1")
    assert [type(call) for call in saga.calls] == CALLS
    assert saga.published == PAID
    assert len(done(fakes)) == len(CALLS)


@pytest.mark.parametrize("command", FAILURES, ids=lambda command: command.__name__)
def test_a_definite_no_takes_back_what_was_done_before_newest_first(command: type[Command[Any]]) -> None:
    sim, fakes = shop()
    fakes[command].fail(FAILURES[command])
    saga = sim.start(checkout, ORDER)
    with pytest.raises(type(FAILURES[command])):
        saga.result  # noqa: B018
    before = CALLS[: CALLS.index(command)]
    assert [type(undone) for undone in saga.undone] == before[::-1]
    assert saga.published == CANCELLED
    assert done(fakes) == []


@pytest.mark.parametrize("command", CALLS, ids=lambda command: command.__name__)
def test_an_error_that_may_have_had_an_effect_is_undone_too(command: type[Command[Any]]) -> None:
    sim, fakes = shop()
    fakes[command].fail(RuntimeError("it broke"))
    saga = sim.start(checkout, ORDER)
    sim.advance(A_DAY)
    with pytest.raises(SagaFailed):
        saga.result  # noqa: B018
    assert [type(undone) for undone in saga.undone] == CALLS[: CALLS.index(command) + 1][::-1]
    assert saga.published == CANCELLED
    assert done(fakes) == []


@pytest.mark.parametrize("took_effect", [True, False])
def test_a_gateway_that_never_answers_is_waited_for_and_then_undone(*, took_effect: bool) -> None:
    sim, fakes = shop()
    fakes[c.ChargeCard].silence(took_effect=took_effect)
    saga = sim.start(checkout, ORDER)
    sim.advance(PATIENCE_WITH_GATEWAY / 2)
    assert saga.published == []
    sim.advance(A_DAY)
    with pytest.raises(SagaFailed):
        saga.result  # noqa: B018
    assert saga.published == CANCELLED
    assert done(fakes) == []


@pytest.mark.parametrize("command", CALLS, ids=lambda command: command.__name__)
def test_a_service_that_says_not_now_is_asked_again(command: type[Command[Any]]) -> None:
    sim, fakes = shop()
    fakes[command].fail(Transient("not now"), times=3)
    saga = sim.start(checkout, ORDER)
    sim.advance(A_DAY)
    assert saga.result.charge_id == "ch-1"
    assert saga.published == PAID


@pytest.mark.parametrize("command", CALLS, ids=lambda command: command.__name__)
def test_an_operators_cancel_takes_everything_back_and_says_so_once(command: type[Command[Any]]) -> None:
    sim, fakes = shop()
    fakes[command].silence()
    saga = sim.start(checkout, ORDER)
    saga.cancel()
    sim.advance(A_DAY)
    assert saga.published == CANCELLED
    assert done(fakes) == []
