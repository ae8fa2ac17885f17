"""Analytics: hears how each order ended. It knows no saga, nobody waits for it, and it may be down for a while."""

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from orchestrator import Participant, Transaction
from services import tables
from services.contracts import OrderCancelled, OrderPaid


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


analytics = Participant("analytics")


@analytics.on(OrderPaid)
async def paid(event: OrderPaid, tx: Transaction) -> None:
    tx.session.add(Outcome(order_id=event.order_id, outcome="paid", key=tx.key))


@analytics.on(OrderCancelled)
async def cancelled(event: OrderCancelled, tx: Transaction) -> None:
    tx.session.add(Outcome(order_id=event.order_id, outcome="cancelled", key=tx.key))


def create_tables(database_url: str) -> None:
    """Analytics' tables."""
    tables.create_tables(Base.metadata, database_url)
