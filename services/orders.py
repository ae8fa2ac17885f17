"""The order service: writes an order down, and strikes it out when the checkout fails."""

from decimal import Decimal

from sqlalchemy import Numeric, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from orchestrator import Participant, Transaction
from services import tables
from services.contracts import CreateOrder


class Base(DeclarativeBase):
    pass


class OrderRow(Base):
    """`key` is that of the operation that wrote the row: two rows for one order would be two operations."""

    __tablename__ = "orders"

    key: Mapped[str] = mapped_column(primary_key=True)
    order_id: Mapped[str] = mapped_column(index=True)
    customer: Mapped[str]
    total: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    created_at: Mapped[tables.Now] = mapped_column(index=True)  # the floor reads what is new by its time
    cancelled_at: Mapped[tables.Later] = mapped_column(index=True)


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


def create_tables(database_url: str) -> None:
    """The order service's tables."""
    tables.create_tables(Base.metadata, database_url)
