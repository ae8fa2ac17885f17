"""What the shop and its payment service have agreed on: one command, and the order that it is given for."""

from decimal import Decimal

from orchestrator import Command, Message


class Order(Message):
    order_id: str
    card: str
    amount: Decimal


class Charged(Message):
    charge_id: str


class ChargeDirectly(Command[Charged], service="payments", undo=False):
    """Take the money now. Nobody takes it back: `services/payments.py` has a charge with its refund."""

    order_id: str
    card: str
    amount: Decimal
