"""Where the runs take place: two databases, and the processes of relay, orchestrator, gateway and payment service."""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from orchestrator.local.stack import RunningStack
from services.demo import world as worlds
from services.demo.shop import Programs, Shop
from services.demo.world import World
from services.rm45.options import Options
from services.rm45.runs import RUNS

APP = "services.rm45.app:app"
BACKBONE = ("gateway", "relay", "orchestrator")
DATABASES = ("orchestrator", "payments")


@asynccontextmanager
async def opened(running: RunningStack, options: Options) -> AsyncIterator[tuple[World, Shop]]:
    """All but the payment service, of which each run has its own."""
    world = await worlds.new_world(running, options.var, options.folder, DATABASES)
    for database, part in zip(DATABASES, ("engine", "participant"), strict=True):
        worlds.create_database(world, database)
        await worlds.migrate(world, database, "--part", part, app=APP)
    async with AsyncExitStack() as ending:
        shop = Shop(running, world, programs(world))
        ending.push_async_callback(shop.close)
        await shop.open(*BACKBONE)
        yield world, shop


def programs(world: World) -> Programs:
    """Name -> (what to run, its environment). A payment service has the name of its run."""
    amends = (sys.executable, "-m", "orchestrator.cli")
    databases = [part for url in world.urls.values() for part in ("--database", url)]
    book = ("--book", str(world.gateway_book), "--port", str(world.gateway_port))
    orchestrating = world.environment("orchestrator")
    services: dict[str, Sequence[str]] = {
        run.name: (*amends, "participant", f"services.rm45.payments:{run.participant}") for run in RUNS
    }
    return {
        "gateway": ((sys.executable, "-m", "services.gateway", *book), orchestrating),
        "relay": ((*amends, "relay", *databases), orchestrating),
        "orchestrator": ((*amends, "orchestrator", "services.rm45.pay:app"), orchestrating),
        **{name: (command, world.environment("payments")) for name, command in services.items()},
    }
