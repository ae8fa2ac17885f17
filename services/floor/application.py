"""All of the floor as one ASGI application."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from orchestrator import Client
from orchestrator.api import Api, create_api
from orchestrator.local.control import Control
from services.floor.customers import Customers
from services.floor.door import CACHE_FILES, Door
from services.floor.gateway_book import GatewayBook
from services.floor.heard import Heard
from services.floor.installation import Installation
from services.floor.listeners import Listeners
from services.floor.numbers import Numbers
from services.floor.picture import Picture
from services.floor.placing import OrderStream, Placing, Surroundings
from services.floor.plugs import Plugs
from services.floor.sources import Sources
from services.floor.watch import Watch
from services.floor.web import Floor, routes
from services.floor.world import World
from services.sagas import app as sagas

log = logging.getLogger("services.floor")

STATIC = Path(__file__).with_name("static")


def create_application(world: World) -> Starlette:
    """It reads and places nothing before its lifespan has begun."""
    client = Client(world.settings)
    # This page has no token to send: whoever is on this machine may operate, as `tokens` empty says.
    api = create_api(world.settings, client=client, app=sagas, tokens=())
    installation = Installation(api, world.gateway_url)
    sources, gateway = Sources(world.databases), GatewayBook(world.gateway_book)
    picture, listeners = Picture(), Listeners()
    plugs = Plugs(Control(world.var), installation)
    customers = Customers(world.gateway_url, world.gateway_book)
    placing = Placing(client, Numbers(world.databases["orders"]))
    watch = Watch(picture, listeners, sources, gateway, plugs, installation)
    surroundings = Surroundings(watch.open_count, listeners.unwatched_s, watch.stream_is)
    floor = Floor(
        picture=picture,
        listeners=listeners,
        watch=watch,
        plugs=plugs,
        installation=installation,
        placing=placing,
        orders=OrderStream(placing, customers, surroundings),
        customers=customers,
        heard=Heard(world.databases["analytics"], world.databases["receipts"], world.mailbox),
    )
    return Starlette(
        routes=[
            Mount("/amends", api),
            Mount("/floor", Door(routes(floor))),
            Mount("/", Door(StaticFiles(directory=STATIC, html=True), CACHE_FILES)),
        ],
        lifespan=_lifespan(floor, client, sources, api),
    )


def _lifespan(
    floor: Floor, client: Client, sources: Sources, api: Api
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(client)
            await stack.enter_async_context(api.running())
            stack.push_async_callback(sources.close)
            stack.push_async_callback(floor.installation.close)
            stack.push_async_callback(floor.customers.close)
            for work in (floor.watch.run(), floor.orders.run(), floor.customers.run()):
                task = asyncio.create_task(work)
                task.add_done_callback(_end_with)
                stack.push_async_callback(_end, task)
            yield

    return lifespan


def _end_with(task: "asyncio.Task[None]") -> None:
    """A loop that broke has a bug: a page that silently shows nothing new would be worse than a restart."""
    if not task.cancelled() and task.exception() is not None:
        log.critical(
            "a loop of the floor broke; it ends, and whoever keeps it starts it again", exc_info=task.exception()
        )
        os.kill(os.getpid(), signal.SIGTERM)


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
