"""Analytics: hears how each order ended. It knows no saga, nobody waits for it, and it may be down for a while.

`outcomes` is what was heard, word for word. `sales` is what it adds up to, an order a row: its events may come in any
order, since each only says what it knows, and a cancelled order counts for nothing whenever that is heard.
"""

from decimal import Decimal
from typing import Any

from sqlalchemy import Numeric
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from orchestrator import Participant, Transaction
from services import tables
from services.contracts import OrderCancelled, OrderPaid, OrderPlaced


class Base(DeclarativeBase):
    pass


class Outcome(Base):
    """One row an event. Nothing makes order_id unique: if the inbox let an event through twice, here it would show."""

    __tablename__ = "outcomes"

    number: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[str] = mapped_column(index=True)
    outcome: Mapped[str]
    key: Mapped[str]
    at: Mapped[tables.Now]


class Sale(Base):
    """An order, and the revenue of it. The figures: orders count(*), revenue sum(paid) where it is not cancelled."""

    __tablename__ = "sales"

    order_id: Mapped[str] = mapped_column(primary_key=True)
    paid: Mapped[Decimal] = mapped_column(Numeric(12, 2), default=Decimal(0))
    is_cancelled: Mapped[bool] = mapped_column(default=False)


analytics = Participant("analytics")


@analytics.on(OrderPlaced)
async def placed(event: OrderPlaced, tx: Transaction) -> None:
    await note(event.order_id, tx)


@analytics.on(OrderPaid)
async def paid(event: OrderPaid, tx: Transaction) -> None:
    tx.session.add(Outcome(order_id=event.order_id, outcome="paid", key=tx.key))
    await note(event.order_id, tx, paid=event.total)


@analytics.on(OrderCancelled)
async def cancelled(event: OrderCancelled, tx: Transaction) -> None:
    tx.session.add(Outcome(order_id=event.order_id, outcome="cancelled", key=tx.key))
    await note(event.order_id, tx, is_cancelled=True)


async def note(order_id: str, tx: Transaction, **known: Any) -> None:
    """Add what is known of an order to its row."""
    statement = insert(Sale).values(order_id=order_id, **known)
    if known:
        await tx.session.execute(statement.on_conflict_do_update(index_elements=[Sale.order_id], set_=known))
    else:
        await tx.session.execute(statement.on_conflict_do_nothing())


def create_tables(database_url: str) -> None:
    """Analytics' tables."""
    tables.create_tables(Base.metadata, database_url)
