"""The order service: writes an order down, and strikes it out when its saga fails.

Of a delivery it also says aloud what became of the order. Row and event are one transaction: `tx.publish` writes the
event into this database's outbox, and the relay takes it from there once the row is committed. Nobody can hear of an
order that is not there, and no order is there that nobody will hear of.
"""

from decimal import Decimal

from sqlalchemy import Numeric, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from orchestrator import Participant, Transaction
from services import tables
from services.contracts import (
    CreateOrder,
    MarkDelivered,
    MarkPaid,
    OrderCancelled,
    OrderDelivered,
    OrderNotOpen,
    OrderPaid,
    OrderPlaced,
    PlaceOrder,
)


class Base(DeclarativeBase):
    pass


class OrderRow(Base):
    """`key` is that of the operation that wrote the row: two rows for one order would be two operations."""

    __tablename__ = "orders"

    key: Mapped[str] = mapped_column(primary_key=True)
    order_id: Mapped[str] = mapped_column(index=True)
    customer: Mapped[str]
    total: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    created_at: Mapped[tables.Now] = mapped_column(index=True)  # the floor reads what is new by its times
    cancelled_at: Mapped[tables.Later] = mapped_column(index=True)
    # Of a delivery only. A status beside these times would be a second word for the same thing.
    paid_at: Mapped[tables.Later] = mapped_column(index=True)
    delivered_at: Mapped[tables.Later] = mapped_column(index=True)


orders = Participant("orders")


@orders.handles(CreateOrder)
async def create(cmd: CreateOrder, tx: Transaction) -> None:
    tx.session.add(OrderRow(key=tx.key, order_id=cmd.order_id, customer=cmd.customer, total=cmd.total))


@create.undo
async def cancel(cmd: CreateOrder, reply: None, tx: Transaction) -> None:
    await tx.session.execute(
        update(OrderRow)
        .where(OrderRow.order_id == cmd.order_id, OrderRow.cancelled_at.is_(None))
        .values(cancelled_at=tables.now())
    )


@orders.handles(PlaceOrder)
async def place(cmd: PlaceOrder, tx: Transaction) -> None:
    tx.session.add(OrderRow(key=tx.key, order_id=cmd.order_id, customer=cmd.customer, total=cmd.total))
    tx.publish(OrderPlaced(order_id=cmd.order_id, customer=cmd.customer, total=cmd.total))


@place.undo
async def call_off(cmd: PlaceOrder, reply: None, tx: Transaction) -> None:
    struck_out = await tx.session.scalar(
        update(OrderRow)
        .where(OrderRow.order_id == cmd.order_id, OrderRow.cancelled_at.is_(None))
        .values(cancelled_at=tables.now())
        .returning(OrderRow.order_id)
    )
    if struck_out is not None:
        tx.publish(OrderCancelled(order_id=cmd.order_id, customer=cmd.customer))


@orders.handles(MarkPaid)
async def mark_paid(cmd: MarkPaid, tx: Transaction) -> None:
    row = await tx.session.scalar(
        update(OrderRow)
        .where(OrderRow.order_id == cmd.order_id, OrderRow.paid_at.is_(None), OrderRow.cancelled_at.is_(None))
        .values(paid_at=tables.now())
        .returning(OrderRow)
    )
    if row is None:
        raise OrderNotOpen(order_id=cmd.order_id)
    tx.publish(OrderPaid(order_id=row.order_id, customer=row.customer, total=row.total))


@mark_paid.undo
async def mark_unpaid(cmd: MarkPaid, reply: None, tx: Transaction) -> None:
    # No event: the order is called off next, and OrderCancelled says all there is to say.
    await tx.session.execute(
        update(OrderRow).where(OrderRow.order_id == cmd.order_id, OrderRow.delivered_at.is_(None)).values(paid_at=None)
    )


@orders.handles(MarkDelivered)
async def mark_delivered(cmd: MarkDelivered, tx: Transaction) -> None:
    row = await tx.session.scalar(
        update(OrderRow)
        .where(OrderRow.order_id == cmd.order_id, OrderRow.paid_at.is_not(None), OrderRow.delivered_at.is_(None))
        .values(delivered_at=tables.now())
        .returning(OrderRow)
    )
    if row is None:
        raise OrderNotOpen(order_id=cmd.order_id)
    tx.publish(OrderDelivered(order_id=row.order_id, customer=row.customer, tracking=cmd.tracking))


def create_tables(database_url: str) -> None:
    """The order service's tables."""
    tables.create_tables(Base.metadata, database_url)
