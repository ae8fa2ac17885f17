"""Durable execution: the order is a function, and goes on where it was.   amends dev durable_execution.py"""

import shop
from orchestrator import Command, Failure, Handling, Message, Participant, Saga, Transaction, saga

orders, stock = Participant("orders"), Participant("stock")
payments, courier = Participant("payments"), Participant("courier")


class Order(Message):
    order_id: str
    country: str


class CreateOrder(Command[None], service="orders"):
    order_id: str


class ReserveStock(Command[None], service="stock"):
    order_id: str


class ChargeCard(Command[str], service="payments"):
    order_id: str


class HandOver(Command[None], service="courier", undo=False):
    order_id: str
    country: str


class CourierRefused(Failure):
    country: str


@saga
async def checkout(s: Saga, order: Order) -> str:
    await s.call(CreateOrder(order_id=order.order_id))
    await s.call(ReserveStock(order_id=order.order_id))
    await s.call(ChargeCard(order_id=order.order_id))
    await s.call(HandOver(order_id=order.order_id, country=order.country))
    return "shipped"


@orders.handles(CreateOrder)
async def create(cmd: CreateOrder, tx: Transaction) -> None:
    await shop.create(tx.connection, cmd.order_id)


@create.undo
async def cancel(cmd: CreateOrder, _: None, tx: Transaction) -> None:
    await shop.cancel(tx.connection, cmd.order_id)


@stock.handles(ReserveStock)
async def reserve(cmd: ReserveStock, tx: Transaction) -> None:
    await shop.reserve(tx.connection)


@reserve.undo
async def release(cmd: ReserveStock, _: None, tx: Transaction) -> None:
    await shop.release(tx.connection)


async def find(cmd: ChargeCard, ctx: Handling) -> str | None:
    return ctx.key if await shop.is_charged(ctx.key) else None


@payments.handles(ChargeCard, effect="external", lookup=find, timeout_s=2)
async def charge(cmd: ChargeCard, ctx: Handling) -> str:
    await shop.charge_card(cmd.order_id, ctx.key)
    return ctx.key


@charge.undo
async def refund(cmd: ChargeCard, payment: str, ctx: Handling) -> None:
    await shop.refund_card(cmd.order_id, payment)


@courier.handles(HandOver)
async def hand_over(cmd: HandOver, tx: Transaction) -> None:
    if not await shop.hand_over(tx.connection, cmd.order_id, cmd.country):
        raise CourierRefused(country=cmd.country)
