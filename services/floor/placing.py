"""Orders, as customers place them: one by one, or a stream of some a second."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Literal

from orchestrator import AmendsError, Client, SagaIdTaken
from services.checkout import checkout
from services.contracts import Item, Order
from services.demo.basket import CARDS, GOOD_CARD, PRICES
from services.floor.limits import QUANTITY_MAX, STARTS_TRIED_MAX, STREAM_OPEN_MAX
from services.floor.numbers import Numbers

log = logging.getLogger("services.floor")

Trouble = Literal["none", "out_of_stock", "dispute", "no_courier"]
CUSTOMERS = ("Aisha", "Wei Ling", "Farid", "Priya", "Jun Hao", "Nadia", "Tom", "Mei", "Sofia", "Elena", "Ken", "Hana")
COUNTRIES = ("Malaysia", "Chile", "Finland", "Japan", "Kenya")
NO_COURIER = "Atlantis"
SOLD_OUT = "unicorn"
# Of twenty orders of the stream; all others go well, if they are let.
TROUBLES: Sequence[Trouble] = ("out_of_stock", "dispute", "no_courier")
ONE_IN = 20


class NoSuchDish(Exception):
    """Its text is for whoever asked."""


class NotPlaced(Exception):
    """Its text is for whoever asked."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asked for; what is missing is chosen."""

    customer: str | None = None
    card: str | None = None
    dishes: Sequence[tuple[str, int]] = ()
    country: str | None = None
    trouble: Trouble = "none"


class Placing:
    """Places orders."""

    def __init__(self, client: Client, numbers: Numbers, chance: Random | None = None) -> None:
        self._client = client
        self._numbers = numbers
        self._chance = chance or Random()

    async def place(self, wish: Wish) -> str:
        """Start a checkout under the next free number; return the order's id.

        It is written down when this returns, whatever dies next. Raises NoSuchDish, NotPlaced, AmendsError.
        """
        for _ in range(STARTS_TRIED_MAX):
            order = order_of(f"order-{await self._numbers.next()}", wish, self._chance)
            try:
                started = await self._client.start(checkout, order, id=order.order_id)
            except SagaIdTaken:
                continue  # Somebody else placed one, too.
            if started.created is not False:
                return order.order_id
        raise NotPlaced(f"{STARTS_TRIED_MAX} numbers were taken, one after the other. Nothing was placed.")

    def some_trouble(self) -> Trouble:
        """For an order of the stream."""
        return self._chance.choice(TROUBLES) if self._chance.randrange(ONE_IN) < len(TROUBLES) else "none"


class OrderStream:
    """Places orders while `per_s` is above zero, and waits while too many are open."""

    def __init__(self, placing: Placing, open_count: Callable[[], int]) -> None:
        self._placing = placing
        self._open_count = open_count
        self._is_changed = asyncio.Event()
        self.per_s = 0.0

    def set(self, per_s: float) -> None:
        """So many a second from now on."""
        self.per_s = per_s
        self._is_changed.set()

    async def run(self) -> None:
        """Until it is cancelled. An order that can't be placed now is not placed later."""
        while True:
            self._is_changed.clear()
            if self.per_s <= 0:
                await self._is_changed.wait()
                continue
            if self._open_count() < STREAM_OPEN_MAX:
                await self._place_one()
            try:
                await asyncio.wait_for(self._is_changed.wait(), 1 / self.per_s)
            except TimeoutError:
                continue

    async def _place_one(self) -> None:
        try:
            await self._placing.place(Wish(trouble=self._placing.some_trouble()))
        except (AmendsError, NotPlaced) as error:
            log.warning("an order of the stream was not placed: %s", error)


def order_of(order_id: str, wish: Wish, chance: Random) -> Order:
    """What is missing is chosen. Raises NoSuchDish."""
    dishes = list(wish.dishes) or _some_dishes(chance)
    for sku, quantity in dishes:
        if sku not in PRICES or not 0 < quantity <= QUANTITY_MAX:
            raise NoSuchDish(f"{quantity} of {sku!r} can't be had; there are {', '.join(PRICES)}. Nothing was placed.")
    if wish.trouble == "out_of_stock":
        dishes.append((SOLD_OUT, 1))
    card = CARDS["card declined"] if wish.trouble == "dispute" else wish.card or GOOD_CARD
    return Order(
        order_id=order_id,
        customer=wish.customer or chance.choice(CUSTOMERS),
        country=NO_COURIER if wish.trouble == "no_courier" else wish.country or chance.choice(COUNTRIES),
        card=card,
        items=[Item(sku=sku, quantity=quantity) for sku, quantity in dishes],
        total=sum((PRICES[sku] * quantity for sku, quantity in dishes), Decimal(0)),
    )


def _some_dishes(chance: Random) -> list[tuple[str, int]]:
    goods = chance.sample(sorted(set(PRICES) - {SOLD_OUT}), chance.randint(1, 3))
    return [(sku, chance.randint(1, 3)) for sku in goods]
