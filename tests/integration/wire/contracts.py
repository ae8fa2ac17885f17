"""What the sagas' team and the till's team have agreed on. The till's side of it is the .avsc files alone."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from orchestrator import Command, Event, Failure, Message


class Means(StrEnum):
    CASH = "cash"
    CARD = "card"


class Note(Message):
    text: str
    at: datetime


class Deposited(Message):
    balance: Decimal
    receipt: UUID
    booked_at: datetime
    note: Note | None


class Deposit(Command[Deposited], service="till"):
    account: str
    amount: Decimal
    at: datetime
    means: Means = Means.CASH
    notes: list[Note] = []
    coins: dict[str, int] = {}
    hint: str | None = None


class Balance(Command[int], service="till", undo=False):
    """In cents."""

    account: str


class Shred(Command[None], service="till", undo=False):
    """What no till can do."""

    account: str


class LimitExceeded(Failure):
    account: str
    limit: Decimal


class MoneyBooked(Event, topic="till-events", key="account"):
    """Published by the till."""

    account: str
    amount: Decimal
    key: str


class DayClosed(Event, topic="days", key="day"):
    """Published by a saga, followed by the till."""

    day: str


class Paid(Message):
    """Sent by a client that is none of ours."""

    amount: Decimal
