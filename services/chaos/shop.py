"""The shop of a run: servers of its own, and the demo's processes, each of which sees them through its links only."""

import os
import secrets
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from orchestrator.local.paths import VarDir, cache_dir
from orchestrator.local.ports import take
from orchestrator.local.stack import Progress, RunningStack, up
from services.chaos.network import GATEWAY, Network, lay
from services.chaos.options import Options
from services.chaos.schedule import ORCHESTRATORS, RELAYS, SERVICES
from services.demo import world as worlds
from services.demo.shop import Programs, Shop
from services.demo.world import World

SHARDS = 4  # each has to advance after each fault, so each needs a checkout soon, and they come at random


@dataclass(frozen=True, slots=True)
class Place:
    """All that can be broken."""

    running: RunningStack
    network: Network
    world: World
    shop: Shop


@asynccontextmanager
async def opened(options: Options, progress: Progress) -> AsyncIterator[Place]:
    """Servers, links, databases, topics and processes, while the block runs. Nothing of a former run is kept."""
    for name in ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS"):
        if os.environ.pop(name, None):
            progress(f"{name} is left alone: what is killed and wiped here are servers of this run's own")
    async with AsyncExitStack() as ending:
        var = VarDir.at(options.folder)
        network = lay(var, options.seed)
        await network.open()
        ending.push_async_callback(network.close)
        os.environ["KAFKA_PROXIED"] = network.kafka_proxied
        running = await up(options.folder, progress=progress, fresh=True)
        ending.push_async_callback(running.down)
        world = await built(running, options, var)
        shop = Shop(running, world, programs(world, network))
        ending.push_async_callback(shop.close)
        await shop.open()
        yield Place(running, network, world, shop)


async def built(running: RunningStack, options: Options, var: VarDir) -> World:
    """The databases, topics and addresses."""
    run = f"chaos_{secrets.token_hex(2)}"
    urls = {
        name: worlds.with_database(running.stack.database_url, f"shop_{run}_{name}")
        for name in ("orchestrator", *SERVICES)
    }
    world = World(run, options.folder, running.stack, urls, take([GATEWAY], var, cache_dir())[GATEWAY])
    for file in (world.report_path, *world.folder.glob("gateway-*.sqlite*")):
        file.unlink(missing_ok=True)
    worlds.leave_addresses(world)
    await worlds.build(world, SHARDS)
    return world


async def make_topics(world: World) -> None:
    """Those that are missing, as whoever has lost a Kafka would: `amends migrate` of the app makes all of them.

    The relays tell the services' databases of topics that are new.
    """
    await worlds.migrate(world, "orchestrator", "--part", "engine", "--shards", str(SHARDS))


def programs(world: World, network: Network) -> Programs:
    """Name -> (what to run, its environment)."""
    python, amends = sys.executable, (sys.executable, "-m", "orchestrator.cli")
    book = ("--book", str(world.gateway_book), "--port", str(world.gateway_port))

    def seen_by(party: str, database: str) -> dict[str, str]:
        way = {
            "DATABASE_URL": network.database_url(party, world.urls[database]),
            "KAFKA_BOOTSTRAP_SERVERS": network.kafka(party),
            "GATEWAY_URL": network.gateway_url,
        }
        return {**world.environment(database), **way}

    def relay(party: str) -> Sequence[str]:
        ways = (network.database_url(party, url) for url in world.urls.values())
        return (*amends, "relay", *(part for url in ways for part in ("--database", url)))

    return {
        "gateway": ((python, "-m", "services.gateway", *book), world.environment("orchestrator")),
        **{name: (relay(name), seen_by(name, "orchestrator")) for name in RELAYS},
        **{
            name: ((*amends, "orchestrator", "services.sagas:app"), seen_by(name, "orchestrator"))
            for name in ORCHESTRATORS
        },
        **{name: ((*amends, "participant", f"services.{name}:{name}"), seen_by("services", name)) for name in SERVICES},
    }
