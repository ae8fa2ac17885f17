"""Orders, as customers place them: one by one, or a stream of some a second."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from random import Random
from typing import Literal

import psycopg

from orchestrator import AmendsError, Client, SagaIdTaken, Started
from services.checkout import checkout
from services.contracts import FoodOrder, Item, Order
from services.delivery import menu
from services.delivery.saga import delivery
from services.demo import basket
from services.floor.customers import Customers, Manner
from services.floor.limits import QUANTITY_MAX, STARTS_TRIED_MAX, STREAM_OPEN_MAX, UNWATCHED_S
from services.floor.numbers import Numbers
from services.floor.problems import Refusal

log = logging.getLogger("services.floor")

Trouble = Literal["none", "out_of_stock", "dispute", "no_courier"]
Type = Literal["delivery", "checkout"]
CUSTOMERS = ("Aisha", "Wei Ling", "Farid", "Priya", "Jun Hao", "Nadia", "Tom", "Mei", "Sofia", "Elena", "Ken", "Hana")
COUNTRIES = ("Malaysia", "Chile", "Finland", "Japan", "Kenya")
# Of an order of the stream; most go well, if they are let. A dispute and a missing courier need a person, so they are
# rare.
STREAM_TROUBLES: Sequence[tuple[int, Trouble]] = ((6, "out_of_stock"), (7, "dispute"), (8, "no_courier"))
LINES_MAX = 3
PORTIONS_MAX = 3


class NoSuchDish(Refusal):
    """It is not on the menu, or not so often."""

    status = 422
    name = "no-such-dish"


class NotPlaced(Refusal):
    """No number was free."""

    status = 503
    name = "not-placed"


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asked for; what is missing is chosen. `address` of a checkout is a country."""

    type: Type = "delivery"
    customer: str | None = None
    card: str | None = None
    dishes: Sequence[tuple[str, int]] = ()
    address: str | None = None
    trouble: Trouble = "none"


class Placing:
    """Places orders."""

    def __init__(self, client: Client, numbers: Numbers, chance: Random | None = None) -> None:
        self._client = client
        self._numbers = numbers
        self._chance = chance or Random()

    async def place(self, wish: Wish) -> str:
        """Start a saga under the next free number; return the order's id, which is the saga's, too.

        It is written down when this returns, whatever dies next. Raises NoSuchDish, NotPlaced, AmendsError.
        """
        prices, sold_out = _menu_of(wish.type)
        chosen = _chosen(wish, prices, sold_out, self._chance)
        for _ in range(STARTS_TRIED_MAX):
            order_id = f"order-{await self._numbers.next()}"
            try:
                started = await self._start(chosen, order_id, prices)
            except SagaIdTaken:
                continue  # Somebody else placed one, too.
            if started.created is not False:
                return order_id
        raise NotPlaced(f"{STARTS_TRIED_MAX} numbers were taken, one after the other. Nothing was placed.")

    async def place_one_of_many(self) -> str:
        """As `place`, for the stream."""
        lot = self._chance.randrange(100)
        troubles: Sequence[Trouble] = [trouble for below, trouble in STREAM_TROUBLES if lot < below]
        trouble = troubles[0] if troubles else "none"
        return await self.place(Wish(trouble=trouble))

    async def _start(self, wish: Wish, order_id: str, prices: Mapping[str, Decimal]) -> Started:
        items = [Item(sku=sku, quantity=quantity) for sku, quantity in wish.dishes]
        total = sum((prices[item.sku] * item.quantity for item in items), Decimal(0))
        customer, card, address = wish.customer or "", wish.card or "", wish.address or ""
        if wish.type == "checkout":
            order = Order(order_id=order_id, customer=customer, country=address, card=card, items=items, total=total)
            return await self._client.start(checkout, order, id=order_id)
        food = FoodOrder(order_id=order_id, customer=customer, address=address, card=card, dishes=items, total=total)
        return await self._client.start(delivery, food, id=order_id)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a stream of orders looks at. `tell`: the stream is so fast from now on."""

    open_count: Callable[[], Awaitable[int]]
    unwatched_s: Callable[[], float]
    tell: Callable[[float], None]


class OrderStream:
    """Places orders while it is told to; waits while too many are open, and ends when nobody has looked for long."""

    def __init__(self, placing: Placing, customers: Customers, surroundings: Surroundings) -> None:
        self._placing = placing
        self._customers = customers
        self._surroundings = surroundings
        self._is_changed = asyncio.Event()
        self._manner: Manner = "mixed"
        self._per_s = 0.0

    def set(self, per_s: float, manner: Manner) -> None:
        """So many a second from now on, and how their customers answer."""
        self._per_s, self._manner = per_s, manner
        self._is_changed.set()
        self._surroundings.tell(per_s)

    async def run(self) -> None:
        """Until it is cancelled. An order that can't be placed now is not placed later."""
        while True:
            self._is_changed.clear()
            if self._per_s <= 0:
                await self._is_changed.wait()
                continue
            if self._surroundings.unwatched_s() > UNWATCHED_S:
                log.info("nobody has looked for %g s: the stream of orders ends", UNWATCHED_S)
                self.set(0, self._manner)
                continue
            if await self._surroundings.open_count() < STREAM_OPEN_MAX:
                await self._place_one()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_changed.wait(), 1 / self._per_s)

    async def _place_one(self) -> None:
        try:
            order_id = await self._placing.place_one_of_many()
        except (AmendsError, NotPlaced, psycopg.Error) as error:
            log.warning("an order of the stream was not placed: %s", error)
            return
        self._customers.expect(order_id, self._manner)


def _menu_of(type: Type) -> tuple[Mapping[str, Decimal], str]:
    return (basket.PRICES, "unicorn") if type == "checkout" else (menu.PRICES, menu.SOLD_OUT)


def _chosen(wish: Wish, prices: Mapping[str, Decimal], sold_out: str, chance: Random) -> Wish:
    """What is missing is chosen, and the trouble is put in. Raises NoSuchDish."""
    dishes = list(wish.dishes)
    for sku, quantity in dishes:
        if sku not in prices or not 0 < quantity <= QUANTITY_MAX:
            raise NoSuchDish(f"{quantity} of {sku!r} can't be had; there are {', '.join(prices)}. Nothing was placed.")
    if not dishes:
        goods = chance.sample(sorted(set(prices) - {sold_out}), chance.randint(1, LINES_MAX))
        dishes = [(sku, chance.randint(1, PORTIONS_MAX)) for sku in goods]
    if wish.trouble == "out_of_stock":
        dishes.append((sold_out, 1))
    card, address = wish.card, wish.address
    if wish.trouble == "dispute":  # A checkout's card is charged at once: it can only be declined.
        card = menu.DECLINED_CARD if wish.type == "checkout" else menu.DISPUTED_CARD
    if wish.trouble == "no_courier":
        address = menu.ADDRESS_WITHOUT_COURIER
    usual = chance.choice(COUNTRIES) if wish.type == "checkout" else menu.GOOD_ADDRESS
    return replace(
        wish,
        customer=wish.customer or chance.choice(CUSTOMERS),
        card=card or menu.GOOD_CARD,
        address=address or usual,
        dishes=dishes,
    )
