"""What the shop's services have agreed on: only words. Every service imports this, and nothing of the others."""

from decimal import Decimal

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


# orders


class CreateOrder(Command[None], service="orders"):
    order_id: str
    customer: str
    total: Decimal


# stock


class ReserveStock(Command[None], service="stock"):
    order_id: str
    items: list[Item]


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


# What everybody may hear about.


class OrderPaid(Event, topic="orders", key="order_id"):
    order_id: str
    customer: str
    total: Decimal


class OrderCancelled(Event, topic="orders", key="order_id"):
    order_id: str
    customer: str
