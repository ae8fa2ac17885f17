"""The floor's look at what surrounds the sagas: what was read first is never told last."""

import asyncio
from pathlib import Path
from typing import Any, cast

from orchestrator.local.control import Control, NotDone
from orchestrator.local.keeper import Seen
from services.floor.gateway_book import GatewayBook
from services.floor.installation import Installation
from services.floor.listeners import Listeners
from services.floor.picture import Picture
from services.floor.plugs import Plugs
from services.floor.sources import Sources
from services.floor.watch import Watch


class SlowAtFirst:
    """Plugs of which the first look takes long: it saw a relay that is killed meanwhile."""

    def __init__(self) -> None:
        self.begun, self.goes_on, self.state = asyncio.Event(), asyncio.Event(), "up"

    async def look(self) -> dict[str, Any]:
        seen = {"relay": {"name": "relay", "state": self.state}}
        if not self.begun.is_set():
            self.begun.set()
            await self.goes_on.wait()
        return seen


class Well:
    async def gateway_mode(self) -> str:
        return "well"

    async def breaker(self, _: GatewayBook) -> dict[str, Any]:
        return {"state": "closed"}


class Keeper:
    """Answers, or not."""

    def __init__(self) -> None:
        self.answers = False

    async def services(self) -> dict[str, Seen]:
        if not self.answers:
            raise NotDone("it is busy")
        return {"orders": Seen("orders", "ready", 1.0, 4711, None, None)}


class NothingToSay:
    async def shards_by_pid(self) -> tuple[dict[int, int], int]:
        return {}, 8

    async def outbox_waiting(self) -> int:
        return 0


async def test_a_keeper_that_is_busy_has_not_lost_its_services() -> None:
    keeper = Keeper()
    plugs = Plugs(cast("Control", keeper), cast("Installation", NothingToSay()))
    assert await plugs.look() == {}
    keeper.answers = True
    seen = await plugs.look()
    assert seen["orders"]["state"] == "up"
    keeper.answers = False
    assert await plugs.look() == seen


async def test_a_look_from_before_a_kill_is_not_told_after_it(tmp_path: Path) -> None:
    plugs, picture = SlowAtFirst(), Picture()
    watch = Watch(
        picture, Listeners(), Sources({}), GatewayBook(tmp_path / "none"), cast("Plugs", plugs),
        cast("Installation", Well()),
    )  # fmt: skip
    by_the_clock = asyncio.create_task(watch.read_states())
    await plugs.begun.wait()
    plugs.state = "down"
    after_the_kill = asyncio.create_task(watch.read_states())
    for _ in range(10):
        await asyncio.sleep(0)
    plugs.goes_on.set()
    await asyncio.gather(by_the_clock, after_the_kill)
    assert picture.plugs["relay"]["state"] == "down"
