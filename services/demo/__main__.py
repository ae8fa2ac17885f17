"""Run the demo. Exit code 0: proved; 1: something was lost or doubled; 3: the demo proved nothing; 2: it broke."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from typing import Any, LiteralString

import psycopg

from orchestrator.local.stack import RunningStack, up
from services.auditor import audit
from services.demo import board as boards
from services.demo import example, report, view
from services.demo.board import Board
from services.demo.driver import Driver
from services.demo.faults import Faults
from services.demo.film import Film
from services.demo.look import Eye
from services.demo.options import Options, parse
from services.demo.outcomes import count_outcomes
from services.demo.shop import Shop
from services.demo.world import World, prepare
from services.interruptible import interruptible

END_PATIENCE_S = 40.0  # until the last sagas have ended, and then until analytics has heard of them all
POLL_S = 0.1
HEARD: LiteralString = "SELECT count(DISTINCT order_id) FROM outcomes"


async def demo(options: Options) -> int:
    """The whole of it, from starting the stack to taking it down; return the exit code."""
    began_s = time.monotonic()
    running = await up(options.var, progress=say)
    try:
        world = await prepare(running, options)
        say(f"databases shop_{world.run}_*, topics {world.topic_prefix}*, files in {world.folder}")
        film = Film() if options.record is not None else None
        run = await sell(options, running, world, began_s, film)
        report.write(run)
        print(f"\n{report.text(run)}", flush=True)
        if film is not None and options.record is not None:
            film.add(report.short(run))
            film.write(options.record)
        return run.exit_code
    finally:
        await running.down()


async def sell(options: Options, running: RunningStack, world: World, began_s: float, film: Film | None) -> report.Run:
    """Open the shop, sell and break things until everything has been shown, wait for the end, audit."""
    board = Board(began_s)
    async with opened(running, world, board) as (shop, eye):
        faults, driver = Faults(options, shop, eye, board), Driver(options, world, board)
        async with alongside(view.show(board)), alongside(film.watch(board)) if film is not None else nullcontext():
            script = asyncio.create_task(faults.run())
            await all_of(script, asyncio.create_task(driver.run(enough=script.done)), watching=shop)
            board.note(f"{driver.started} checkouts were started; the last ones are ending")
            await until(lambda: board.ended >= driver.started)
            await until_heard(world, driver.started)
            board.note("all sagas have ended")
        found = await asyncio.to_thread(audit, world.path)
        outcomes = await asyncio.to_thread(count_outcomes, world)
        drawn = await example.draw(world)
    seconds = time.monotonic() - began_s
    return report.Run(options, world, outcomes, faults.done, faults.missed, found, seconds, driver.open_least, drawn)


@asynccontextmanager
async def opened(running: RunningStack, world: World, board: Board) -> AsyncIterator[tuple[Shop, Eye]]:
    """The shop with its processes running, and somebody who looks at its databases."""
    async with AsyncExitStack() as ending:
        shop = Shop(running, world)
        ending.push_async_callback(shop.close)
        await shop.open()
        eye = await Eye.open(world.urls, world.gateway_book)
        ending.push_async_callback(eye.close)
        async with alongside(boards.keep_fresh(board, eye)):
            yield shop, eye


@asynccontextmanager
async def alongside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run it while the block runs; an error of it ends the block."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(ended, Exception):
            raise ended


async def all_of(*tasks: "asyncio.Task[None]", watching: Shop) -> None:
    """Wait for all tasks; raise the first error of one, or ProcessEnded. Whatever still runs then is cancelled."""
    try:
        while True:
            await asyncio.wait(tasks, timeout=POLL_S, return_when=asyncio.FIRST_EXCEPTION)
            for task in tasks:
                if task.done():
                    task.result()
            if all(task.done() for task in tasks):
                return
            watching.check()
    finally:
        for task in tasks:
            task.cancel()


async def until(reached: Callable[[], bool]) -> None:
    """A bounded wait: what is not there then is for the auditor to judge."""
    deadline_s = time.monotonic() + END_PATIENCE_S
    while not reached() and time.monotonic() < deadline_s:
        await asyncio.sleep(POLL_S)


async def until_heard(world: World, orders: int) -> None:
    """Until analytics has a row about every order; a second row of one may still come, so a moment longer."""
    deadline_s = time.monotonic() + END_PATIENCE_S
    async with await psycopg.AsyncConnection.connect(world.urls["analytics"], autocommit=True) as connection:
        while time.monotonic() < deadline_s:
            row = await (await connection.execute(HEARD)).fetchone()
            if row is not None and row[0] >= orders:
                break
            await asyncio.sleep(POLL_S)
    await asyncio.sleep(POLL_S * 5)


def say(line: str) -> None:
    """Before and after the view."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(asyncio.run(interruptible(demo(parse(sys.argv[1:])), "the demo")))
