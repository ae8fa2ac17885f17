"""The shipping service: packs a parcel, then hands it to a courier, unless no courier goes there."""

from sqlalchemy import update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from orchestrator import Participant, Transaction
from services import tables
from services.contracts import Dispatch, Dispatched, PackParcel, ShippingRefused

NO_COURIER_GOES_TO = frozenset({"Atlantis"})


class Base(DeclarativeBase):
    pass


class Parcel(Base):
    __tablename__ = "parcels"

    key: Mapped[str] = mapped_column(primary_key=True)
    order_id: Mapped[str] = mapped_column(index=True)
    things: Mapped[int]
    packed_at: Mapped[tables.Now] = mapped_column(index=True)
    unpacked_at: Mapped[tables.Later] = mapped_column(index=True)


class Shipment(Base):
    __tablename__ = "shipments"

    key: Mapped[str] = mapped_column(primary_key=True)
    order_id: Mapped[str] = mapped_column(index=True)
    tracking: Mapped[str]
    accepted_at: Mapped[tables.Now] = mapped_column(index=True)
    recalled_at: Mapped[tables.Later] = mapped_column(index=True)


shipping = Participant("shipping")


@shipping.handles(PackParcel)
async def pack(cmd: PackParcel, tx: Transaction) -> None:
    things = sum(item.quantity for item in cmd.items)
    tx.session.add(Parcel(key=tx.key, order_id=cmd.order_id, things=things))


@pack.undo
async def unpack(cmd: PackParcel, reply: None, tx: Transaction) -> None:
    await tx.session.execute(
        update(Parcel)
        .where(Parcel.order_id == cmd.order_id, Parcel.unpacked_at.is_(None))
        .values(unpacked_at=tables.now())
    )


@shipping.handles(Dispatch)
async def dispatch(cmd: Dispatch, tx: Transaction) -> Dispatched:
    if cmd.country in NO_COURIER_GOES_TO:
        raise ShippingRefused(reason=f"no courier goes to {cmd.country}")
    tracking = f"track-{cmd.order_id}"
    tx.session.add(Shipment(key=tx.key, order_id=cmd.order_id, tracking=tracking))
    return Dispatched(tracking=tracking)


@dispatch.undo
async def recall(cmd: Dispatch, dispatched: Dispatched, tx: Transaction) -> None:
    await tx.session.execute(
        update(Shipment)
        .where(Shipment.tracking == dispatched.tracking, Shipment.recalled_at.is_(None))
        .values(recalled_at=tables.now())
    )


def create_tables(database_url: str) -> None:
    """The shipping service's tables."""
    tables.create_tables(Base.metadata, database_url)
