"""Carries the runs out, one after the other, and reads what they did from the gateway's book."""

import asyncio
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any, TypeVar

from orchestrator import Client, OperationError
from services.demo.shop import Shop
from services.demo.world import World
from services.rm45 import ledger
from services.rm45.contracts import Order
from services.rm45.options import Options
from services.rm45.pay import PATIENCE, pay
from services.rm45.report import Row
from services.rm45.runs import GOOD_CARD, RUNS, Run, orders_of

CLIENT_PATIENCE = PATIENCE * 1.5
POLL_S = 0.1

_T = TypeVar("_T")


class Experiment:
    """The stage, and a client that orders there. `say` takes a line for people."""

    def __init__(self, options: Options, world: World, shop: Shop, client: Client, say: Callable[[str], None]) -> None:
        self._options = options
        self._world = world
        self._shop = shop
        self._client = client
        self._say = say

    async def run(self) -> list[Row]:
        """All runs. Raises ProcessEnded if a process ends that was not told to."""
        return [await self._watched(self._carry_out(run)) for run in RUNS]

    async def _carry_out(self, run: Run) -> Row:
        await self._shop.start(run.name)
        try:
            await self._pays(Order(order_id=f"ready/{run.name}", card=GOOD_CARD, amount=Decimal(1)))
            orders = orders_of(run, self._options.charges, self._options.seed)
            if run.story == "lost answer":
                completed, still_open = sum([await self._pays(order) for order in orders]), None
            else:
                completed, still_open = await self._outage(orders)
        finally:
            await self._shop.stop(run.name)
        sums = ledger.read(self._world.gateway_book, run)
        self._say(f"{run.name}: {run.protections}. {sums.requests} requests, {completed} of {len(orders)} completed")
        owed_cents = int(sum(order.amount for order in orders) * 100)
        return Row(run, sums, len(orders), owed_cents, completed, still_open)

    async def _outage(self, orders: list[Order]) -> tuple[int, int]:
        """How many orders were completed, and how many were open when the gateway went down."""
        options = self._options
        await self._shop.gateway_phase("slow")
        try:
            async with asyncio.TaskGroup() as group:
                paying = [group.create_task(self._pays(order)) for order in orders]
                await asyncio.sleep(options.slow_s)
                still_open = sum(not each.done() for each in paying)
                await self._shop.restart_gateway(options.restart_s, options.distraction_s)
        finally:
            await self._shop.gateway_phase("normal")
        return sum(each.result() for each in paying), still_open

    async def _pays(self, order: Order) -> bool:
        """Whether the order was completed, as its saga says."""
        try:
            await self._client.run(pay, order, id=order.order_id, timeout=CLIENT_PATIENCE)
        except OperationError:
            return False
        return True

    async def _watched(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Await it, and look after the processes meanwhile."""
        task = asyncio.create_task(work)
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=POLL_S)
                self._shop.check()
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
