"""The checkout of the tutorial, tested as an author would: no servers, no waiting."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Literal

import pytest

from orchestrator import Command, Event, Failure, Message, Retry, Saga, SagaFailed, Transient, saga
from orchestrator.testing import Simulation


class Order(Message, name="CheckoutOrder"):
    order_id: str
    total: Decimal


class Reserved(Message, name="CheckoutReserved"):
    reservation: str


class ReserveStock(Command[Reserved], service="stock", name="CheckoutReserveStock"):
    order_id: str


class ChargeCard(Command[str], service="payments", name="CheckoutChargeCard"):
    order_id: str
    amount: Decimal


class CardDeclined(Failure, wire_name="CheckoutCardDeclined"):
    reason: str


class PrintLabel(Command[str], service="shipping", undo=False, name="CheckoutPrintLabel"):
    order_id: str


class SendCourier(Command[str], service="couriers", name="CheckoutSendCourier"):
    order_id: str


class PaymentSettled(Message, name="CheckoutPaymentSettled"):
    reference: str


class OrderPaid(Event, topic="orders", key="order_id", name="CheckoutOrderPaid"):
    order_id: str


class Verdict(Message, name="CheckoutVerdict"):
    verdict: Literal["approved", "denied"]


def render_invoice(order: Order) -> str:
    return f"invoices/{order.order_id}.pdf"


@saga(name="dispatch")
async def dispatch(s: Saga, order_id: str) -> str:
    return await s.call(SendCourier(order_id=order_id))


@saga(name="checkout")
async def checkout(s: Saga, order: Order) -> str:
    s.set("status", "reserving")
    await s.call(ReserveStock(order_id=order.order_id))
    await s.call(
        ChargeCard(order_id=order.order_id, amount=order.total),
        retry=Retry(max_attempts=5),
        timeout=timedelta(seconds=30),
    )
    s.set("status", "waiting for the payment")
    await s.receive(PaymentSettled, timeout=timedelta(minutes=1))
    s.pivot()
    async with asyncio.timeout(3600):
        label, invoice = await asyncio.gather(
            s.call(PrintLabel(order_id=order.order_id)), s.step(render_invoice, order)
        )
    s.publish(OrderPaid(order_id=order.order_id))
    courier = await s.run(dispatch, order.order_id, id=f"dispatch-{order.order_id}")
    return f"{label} {invoice} {courier}"


@saga(name="ask")
async def ask(s: Saga, approvers: list[str]) -> str:
    for approver in approvers:
        s.set("waiting for", approver)
        try:
            answer = await s.receive(Verdict, channel=approver, timeout=timedelta(days=7))
        except TimeoutError:
            continue
        if answer.verdict == "denied":
            raise CardDeclined(reason=f"denied by {approver}")
        return approver
    raise TimeoutError("nobody answered")


ORDER = Order(order_id="7", total=Decimal("45.00"))


@pytest.fixture
def shop(sim: Simulation) -> Simulation:
    sim.fake(ReserveStock).answer(lambda cmd: Reserved(reservation=cmd.order_id))
    sim.fake(ChargeCard).answer("c1")
    sim.fake(PrintLabel).answer("t1")
    sim.fake(SendCourier).answer("Ada")
    return sim


def test_paid(shop: Simulation) -> None:
    order = shop.start(checkout, ORDER)
    assert order.get("status", str) == "waiting for the payment"
    assert order.waiting_for == ["CheckoutPaymentSettled"]
    order.send(PaymentSettled(reference="p1"))
    assert order.result == "t1 invoices/7.pdf Ada"
    assert order.published == [OrderPaid(order_id="7")]
    assert not order.undone
    assert [type(call) for call in order.calls] == [ReserveStock, ChargeCard, PrintLabel]


def test_no_payment_takes_everything_back(shop: Simulation) -> None:
    order = shop.start(checkout, ORDER)
    with pytest.raises(AssertionError, match="it waits for CheckoutPaymentSettled"):
        _ = order.result
    shop.advance(timedelta(minutes=1))
    with pytest.raises(SagaFailed):
        _ = order.result
    assert [type(command) for command in order.undone] == [ChargeCard, ReserveStock]
    assert not shop.fake(ReserveStock).effects


def test_the_answer_is_lost_after_the_charge(shop: Simulation) -> None:
    charge = shop.fake(ChargeCard)
    charge.silence(took_effect=True)
    order = shop.start(checkout, ORDER)
    assert charge.effects == [ChargeCard(order_id="7", amount=Decimal("45.00"))]
    shop.advance(timedelta(seconds=30))
    with pytest.raises(SagaFailed):
        _ = order.result
    assert not charge.effects


@saga(name="checkout_pays")
async def pays(s: Saga, order: Order) -> str:
    charge = ChargeCard(order_id=order.order_id, amount=order.total)
    return await s.call(charge, retry=Retry(max_attempts=3, attempt_timeout_s=10))


@pytest.mark.parametrize("finds", ["c1", CardDeclined(reason="limit")])
def test_what_a_lost_answer_did_is_found_by_the_next_attempt(sim: Simulation, finds: str | CardDeclined) -> None:
    charge = sim.fake(ChargeCard)
    charge.silence(took_effect=True)
    order = sim.start(pays, ORDER)
    if isinstance(finds, str):
        charge.answer(finds)
        sim.advance(15)
        assert order.result == "c1"
        assert len(charge.effects) == 1
        return
    charge.fail(finds)  # a no after a lost yes is no definite one: it is taken back
    sim.advance(15)
    with pytest.raises(CardDeclined):
        _ = order.result
    assert [type(command) for command in order.undone] == [ChargeCard]
    assert not charge.effects


def test_the_breaker_is_open_for_a_while(shop: Simulation) -> None:
    shop.fake(ChargeCard).fail(Transient("open", retry_after_s=2.0), times=3)
    order = shop.start(checkout, ORDER)
    shop.advance(6)
    order.send(PaymentSettled(reference="p1"))
    assert order.result.startswith("t1")


def test_declined(shop: Simulation) -> None:
    shop.fake(ChargeCard).fail(CardDeclined(reason="limit"))
    order = shop.start(checkout, ORDER)
    with pytest.raises(CardDeclined) as caught:
        _ = order.result
    assert caught.value.reason == "limit"
    assert [type(command) for command in order.undone] == [ReserveStock]


def test_cancelled_by_its_owner(shop: Simulation) -> None:
    order = shop.start(checkout, ORDER)
    order.cancel()
    with pytest.raises(SagaFailed) as caught:
        _ = order.result
    assert caught.value.status == "cancelled"
    assert not shop.fake(ChargeCard).effects


def test_an_undo_that_fails_is_for_a_person(shop: Simulation) -> None:
    shop.fake(ChargeCard).fail_undo(CardDeclined(reason="account closed"))
    order = shop.start(checkout, ORDER)
    shop.advance(60)
    assert order.status == "stuck"
    order.verb("skip", "paid back in cash")
    with pytest.raises(SagaFailed) as caught:
        _ = order.result
    assert caught.value.left_undone == ("CheckoutChargeCard #2 (paid back in cash)",)


def test_seven_days_of_silence_escalate(sim: Simulation) -> None:
    request = sim.start(ask, ["lead", "head"])
    sim.advance(timedelta(days=7))
    assert request.get("waiting for", str) == "head"
    request.send(Verdict(verdict="denied"), channel="head")
    with pytest.raises(CardDeclined):
        _ = request.result


def test_what_nobody_arranged_says_so(sim: Simulation) -> None:
    with pytest.raises(AssertionError, match=r"sim.fake\(CheckoutReserveStock\).answer"):
        sim.start(checkout, ORDER)
