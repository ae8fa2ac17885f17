"""Keeps so many checkouts open: a customer comes whenever another one has been served."""

import asyncio
from collections.abc import Callable

from pydantic import SecretStr

from orchestrator import Client
from orchestrator.settings import Settings
from services.checkout import checkout
from services.demo.basket import OrderList, order_of
from services.demo.board import Board
from services.demo.options import Options
from services.demo.world import World

SPARE = 24  # above the minimum: after a recovery many end at once, and the next customers need a moment
BETWEEN_STARTS_S = 0.05
STARTS_AT_ONCE = 12


class Driver:
    """Starts sagas through the public client, as a web shop would."""

    def __init__(self, options: Options, world: World, board: Board) -> None:
        self._options = options
        self._board = board
        self._world = world
        self.started = 0
        self.open_least: int | None = None  # between the first time that enough were open and the last start

    async def run(self, enough: Callable[[], bool]) -> None:
        """Until at least the wanted number was started, and `enough` says that nobody needs more."""
        settings = Settings(
            database_url=SecretStr(self._world.urls["orchestrator"]), topic_prefix=self._world.topic_prefix
        )
        orders = OrderList(self._world.orders_path)
        try:
            async with Client(settings) as client:
                while self.started < self._options.checkouts or not enough():
                    await self._fill(client, orders)
                    self._watch()
                    await asyncio.sleep(BETWEEN_STARTS_S)
                self._watch()
        finally:
            orders.close()

    async def _fill(self, client: Client, orders: OrderList) -> None:
        wanted = self._options.open_min + SPARE
        missing = max(0, wanted - (self.started - self._board.ended))
        await asyncio.gather(*(self._start(client, orders) for _ in range(min(missing, STARTS_AT_ONCE))))

    async def _start(self, client: Client, orders: OrderList) -> None:
        n, self.started = self.started, self.started + 1
        order = order_of(n, self._options.seed)
        orders.add(n, order)
        await client.start(checkout, order, id=order.order_id)

    def _watch(self) -> None:
        if self.open_least is not None:
            self.open_least = min(self.open_least, self._board.open)
        elif self._board.open >= self._options.open_min:
            self.open_least = self._board.open
