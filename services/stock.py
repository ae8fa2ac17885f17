"""The stock service: takes things off the shelf for an order, and puts them back when its saga fails.

A dish of the kitchen is a thing on a shelf too: so many portions of it were cooked ahead.
"""

from collections.abc import Iterable, Mapping

from sqlalchemy import CheckConstraint, create_engine, insert, make_url, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from orchestrator import Participant, Transaction
from services import tables
from services.contracts import Item, OutOfStock, ReserveDishes, ReserveStock


class Base(DeclarativeBase):
    pass


class Shelf(Base):
    """How much of one thing there is now, and how much was ever delivered to us."""

    __tablename__ = "shelves"
    __table_args__ = (CheckConstraint("quantity >= 0"),)

    sku: Mapped[str] = mapped_column(primary_key=True)
    delivered: Mapped[int]
    quantity: Mapped[int]


class Movement(Base):
    """The ledger behind the shelves: never changed, only added to. `change` is negative when things leave the shelf."""

    __tablename__ = "movements"

    movement: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str]
    order_id: Mapped[str] = mapped_column(index=True)
    sku: Mapped[str]
    change: Mapped[int]
    at: Mapped[tables.Now] = mapped_column(index=True)


stock = Participant("stock")


@stock.handles(ReserveStock)
async def reserve(cmd: ReserveStock, tx: Transaction) -> None:
    await take(cmd.order_id, cmd.items, tx)


@reserve.undo
async def release(cmd: ReserveStock, reply: None, tx: Transaction) -> None:
    await put_back(cmd.order_id, cmd.items, tx)


@stock.handles(ReserveDishes)
async def reserve_dishes(cmd: ReserveDishes, tx: Transaction) -> None:
    await take(cmd.order_id, cmd.dishes, tx)


@reserve_dishes.undo
async def release_dishes(cmd: ReserveDishes, reply: None, tx: Transaction) -> None:
    await put_back(cmd.order_id, cmd.dishes, tx)


async def take(order_id: str, items: Iterable[Item], tx: Transaction) -> None:
    """All of them, or none: raises OutOfStock, and a Failure rolls back what this handling took before."""
    for item in in_one_order(items):
        taken = await tx.session.scalar(
            update(Shelf)
            .where(Shelf.sku == item.sku, Shelf.quantity >= item.quantity)
            .values(quantity=Shelf.quantity - item.quantity)
            .returning(Shelf.sku)
        )
        if taken is None:
            raise OutOfStock(sku=item.sku, left=await quantity_left(tx.session, item.sku))
        tx.session.add(Movement(key=tx.key, order_id=order_id, sku=item.sku, change=-item.quantity))


async def put_back(order_id: str, items: Iterable[Item], tx: Transaction) -> None:
    for item in in_one_order(items):
        await tx.session.execute(
            update(Shelf).where(Shelf.sku == item.sku).values(quantity=Shelf.quantity + item.quantity)
        )
        tx.session.add(Movement(key=tx.key, order_id=order_id, sku=item.sku, change=item.quantity))


def in_one_order(items: Iterable[Item]) -> list[Item]:
    """By sku: two handlings that lock the same shelves in different orders would wait for each other."""
    return sorted(items, key=lambda item: item.sku)


async def quantity_left(session: AsyncSession, sku: str) -> int:
    """What the shelf holds; 0 for a thing that we never had."""
    return await session.scalar(select(Shelf.quantity).where(Shelf.sku == sku)) or 0


def create_tables(database_url: str) -> None:
    """The stock service's tables."""
    tables.create_tables(Base.metadata, database_url)


def deliver(database_url: str, goods: Mapping[str, int]) -> None:
    """Put new things on new shelves: sku -> quantity."""
    engine = create_engine(make_url(database_url).set(drivername="postgresql+psycopg"))
    try:
        with engine.begin() as connection:
            rows = [{"sku": sku, "delivered": n, "quantity": n} for sku, n in goods.items()]
            connection.execute(insert(Shelf), rows)
    finally:
        engine.dispose()
