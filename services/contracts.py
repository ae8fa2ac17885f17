"""What the shop's services have agreed on: only words. Every service imports this, and nothing of the others."""

from decimal import Decimal

from pydantic import Field

from orchestrator import Command, Event, Failure, Message


class Item(Message):
    sku: str
    quantity: int


class Order(Message):
    order_id: str
    customer: str
    country: str
    card: str
    items: list[Item]
    total: Decimal


class Receipt(Message):
    order_id: str
    charge_id: str
    tracking: str


class FoodOrder(Message):
    """What a delivery begins with. How long it waits for the money is the order's own: a saga keeps its input for good,
    and a setting would be another one after a deploy.
    """

    order_id: str
    customer: str
    address: str
    card: str
    dishes: list[Item]
    total: Decimal
    pay_within_s: float = Field(default=60.0, gt=0)


class Delivered(Message):
    order_id: str
    payment_id: str
    tracking: str


class Handover(Message):
    """From the kitchen to the courier."""

    order_id: str
    address: str


# orders


class CreateOrder(Command[None], service="orders"):
    order_id: str
    customer: str
    total: Decimal


class PlaceOrder(Command[None], service="orders"):
    """As CreateOrder, and the order service says by itself what becomes of the order: see its events below."""

    order_id: str
    customer: str
    total: Decimal


class MarkPaid(Command[None], service="orders"):
    order_id: str


class MarkDelivered(Command[None], service="orders", undo=False):
    order_id: str
    tracking: str


class OrderNotOpen(Failure):
    order_id: str


# stock


class ReserveStock(Command[None], service="stock"):
    order_id: str
    items: list[Item]


class ReserveDishes(Command[None], service="stock"):
    order_id: str
    dishes: list[Item]


class OutOfStock(Failure):
    sku: str
    left: int


# payments


class Charged(Message):
    charge_id: str


class ChargeCard(Command[Charged], service="payments"):
    order_id: str
    card: str
    amount: Decimal


class CardDeclined(Failure):
    reason: str


class Requested(Message):
    """A payment at the provider, which the customer has not made yet. `pay_at`: the provider's page for it."""

    payment_id: str
    pay_at: str


class RequestPayment(Command[Requested], service="payments"):
    order_id: str
    card: str
    amount: Decimal


class RefundRefused(Failure):
    """Of an undo: the provider keeps the money for now, and a person has to see to it."""

    payment_id: str
    reason: str


class PaymentSettled(Message):
    """To the saga, when the provider has said that the money is there."""

    payment_id: str
    amount: Decimal


class PaymentRefused(Message):
    """To the saga, when the provider has said that it will not be there."""

    payment_id: str
    reason: str


class NotPaid(Failure):
    """Of the whole delivery: it was taken back, because the money did not come."""

    order_id: str
    reason: str


# shipping


class PackParcel(Command[None], service="shipping"):
    order_id: str
    items: list[Item]


class Dispatched(Message):
    tracking: str


class Dispatch(Command[Dispatched], service="shipping"):
    order_id: str
    country: str


class ShippingRefused(Failure):
    reason: str


class Label(Message):
    label_id: str


class PrintLabel(Command[Label], service="shipping"):
    order_id: str
    address: str


class Courier(Message):
    tracking: str


class BookCourier(Command[Courier], service="shipping"):
    order_id: str
    address: str
    label_id: str


class NoCourier(Failure):
    address: str


# What everybody may hear about. Of a checkout the saga says it, of a delivery the order service, with its own row.


class OrderPlaced(Event, topic="orders", key="order_id"):
    order_id: str
    customer: str
    total: Decimal


class OrderPaid(Event, topic="orders", key="order_id"):
    order_id: str
    customer: str
    total: Decimal


class OrderCancelled(Event, topic="orders", key="order_id"):
    order_id: str
    customer: str


class OrderDelivered(Event, topic="orders", key="order_id"):
    order_id: str
    customer: str
    tracking: str
