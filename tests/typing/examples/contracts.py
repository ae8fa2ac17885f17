"""The words that the services of a shop share. They import this module, and nothing of each other."""

from decimal import Decimal

from orchestrator import Command, Event, Failure, Message


class Item(Message):
    sku: str
    quantity: int


class Order(Message):
    order_id: str
    customer: str
    card: str
    items: list[Item]
    total: Decimal


class Reserved(Message):
    reservation: str


class ReserveStock(Command[Reserved], service="stock"):
    order_id: str
    items: list[Item]


class OutOfStock(Failure):
    sku: str
    left: int


class Charged(Message):
    charge_id: str


class ChargeCard(Command[Charged], service="payments"):
    order_id: str
    card: str
    amount: Decimal


class CardDeclined(Failure):
    reason: str


class Label(Message):
    tracking: str


class PrintLabel(Command[Label], service="shipping", undo=False):
    order_id: str


class Courier(Message):
    name: str
    minutes: int


class SendCourier(Command[Courier], service="couriers"):
    order_id: str
    provider: str = "any"


class NoCourier(Failure):
    pass


class AddPoints(Command[None], service="loyalty"):
    customer: str
    points: int


class PaymentSettled(Message):
    reference: str


class PaymentRefused(Message):
    reason: str


class OrderPaid(Event, topic="orders", key="order_id"):
    order_id: str
    customer: str


class OrderCancelled(Event, topic="orders", key="order_id"):
    order_id: str


class Receipt(Message):
    order_id: str
    tracking: str
    invoice: str
