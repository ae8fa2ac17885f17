"""An open loop: checkouts come at their own rate, whoever is down. An order in the list is started in the end.

A start whose answer was lost is repeated under its id, as any web shop would.
"""

import asyncio
from collections.abc import Callable
from random import Random

import psycopg
from pydantic import SecretStr

from orchestrator import Client
from orchestrator.errors import DependencyError
from orchestrator.settings import Settings
from services.chaos.network import SHOPPERS, Network
from services.chaos.options import Options
from services.checkout import checkout
from services.demo.basket import OrderList, order_of
from services.demo.world import World

OPEN_MAX = 120  # the loop is open up to here: after a long outage two cores would be busy with the backlog alone
ASK_AGAIN_S = 0.2


class Shoppers:
    """`placed` orders stand in the list; `started` ones were acknowledged by the client."""

    def __init__(self, options: Options, world: World, network: Network, ended: Callable[[], int]) -> None:
        url = network.database_url(SHOPPERS, world.urls["orchestrator"])
        self._settings = Settings(database_url=SecretStr(url), topic_prefix=world.topic_prefix)
        self._options = options
        self._world = world
        self._ended = ended
        self._dice = Random(options.seed)
        self.placed = 0
        self.started = 0
        self.asked_again = 0

    async def run(self, enough: asyncio.Event) -> None:
        """Until there were enough, and all that were placed have been started."""
        orders = OrderList(self._world.orders_path)
        try:
            async with Client(self._settings) as client, asyncio.TaskGroup() as starting:
                while not enough.is_set():
                    if self.placed - self._ended() < OPEN_MAX:
                        starting.create_task(self._start(client, orders))
                    await asyncio.sleep(self._dice.expovariate(self._options.rate_per_s))
        finally:
            orders.close()

    async def _start(self, client: Client, orders: OrderList) -> None:
        n, self.placed = self.placed, self.placed + 1
        order = order_of(n, self._options.seed)
        orders.add(n, order)
        while True:
            try:
                await client.start(checkout, order, id=order.order_id)
                break
            except (psycopg.Error, DependencyError):
                self.asked_again += 1
                await asyncio.sleep(ASK_AGAIN_S)
        self.started += 1
