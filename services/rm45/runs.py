"""The five runs: the same handler each time, with one more protection than the run that it is held against."""

from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Literal

from services.rm45.contracts import Order

Story = Literal["lost answer", "outage"]

PRICE = Decimal("45.00")
LOSES_THE_ANSWER, GOOD_CARD = "4000-0000-0000-0119", "4242-4242-4242-4242"
RINGGIT_MIN, RINGGIT_MAX = 5, 200


@dataclass(frozen=True, slots=True)
class Run:
    """`name` begins the numbers of its orders; `participant` is its name in `services.rm45.payments`."""

    name: str
    participant: str
    protections: str
    story: Story


NO_KEY = Run("no-key", "without_protection", "nothing", "lost answer")
KEY = Run("key", "with_key", "idempotency key", "lost answer")
LOOKUP = Run("lookup", "with_lookup", "no key, but a lookup", "lost answer")
STORM = Run("storm", "with_key", "key, no breaker", "outage")
TRICKLE = Run("trickle", "with_key_and_breaker", "key and breaker", "outage")
RUNS = (NO_KEY, KEY, LOOKUP, STORM, TRICKLE)


def orders_of(run: Run, charges: int, seed: int) -> list[Order]:
    """One customer who pays RM 45.00, or as many as are to be there when the gateway goes down."""
    if run.story == "lost answer":
        return [Order(order_id=f"{run.name}-001", card=LOSES_THE_ANSWER, amount=PRICE)]
    chance = Random(seed)
    amounts = [Decimal(chance.randint(RINGGIT_MIN * 100, RINGGIT_MAX * 100)) / 100 for _ in range(charges)]
    return [
        Order(order_id=f"{run.name}-{number:03}", card=GOOD_CARD, amount=amount)
        for number, amount in enumerate(amounts, start=1)
    ]
