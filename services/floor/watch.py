"""Reads what the floor shows, and only while somebody looks.

The states of orders are read before the gateway's book: an order that is seen delivered or cancelled has its money in
order by then, so the gateway can't be seen too early. One thing can still look wrong, an order that is seen delivered
just before it is recalled and refunded; so the states of what does not add up are read once more before it is told.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import httpx
import psycopg

from services.floor.books import Book
from services.floor.gateway_book import GatewayBook
from services.floor.installation import Installation
from services.floor.limits import OPEN_COUNT_S, READ_S, RETRY_S, STATE_S
from services.floor.listeners import Listeners
from services.floor.pace import Pace
from services.floor.picture import BREAKER, GATEWAY, PACE, STREAM, Part, Picture
from services.floor.plugs import Plugs
from services.floor.sources import GOODS, STATES, Sources

log = logging.getLogger("services.floor")


class BooksReader:
    """Reads all books into the picture's ledger."""

    def __init__(self, sources: Sources, gateway: GatewayBook, picture: Picture, pace: Pace) -> None:
        self._sources = sources
        self._gateway = gateway
        self._picture = picture
        self._pace = pace
        self._has_begun = False
        self._waited_for: set[str] = set()

    async def read(self) -> list[Part]:
        """Read on; return what has changed. Raises psycopg.Error, sqlite3.Error."""
        ledger, pace = self._picture.ledger, self._pace
        if self._has_begun:
            await self._sources.news((*STATES, *GOODS), ledger, pace)
        else:
            order_ids = await self._sources.newest(ledger, pace)
            await self._sources.all_of((*STATES, *GOODS), order_ids, ledger, pace)
            self._has_begun = True
        window_moved = await asyncio.to_thread(self._gateway.read, ledger, pace)
        changed = await self._settle()
        self._picture.as_of = datetime.now(UTC)
        gone = ledger.put_away()
        parts: list[Part] = [("book", name) for name in {*(book.order_id for book in changed), *gone}]
        return [*parts, BREAKER] if window_moved else parts

    async def _settle(self) -> list[Book]:
        ledger = self._picture.ledger
        strangers = set(ledger.strangers())
        if strangers:
            ledger.are_old(await self._sources.known(sorted(strangers)))
            strangers = set(ledger.strangers())
        # An order that was written down after the look at the orders is there with the next one.
        changed = ledger.settle(wait_for=strangers - self._waited_for)
        self._waited_for = strangers
        if any(book.adrift for book in changed):
            await self._sources.news(STATES, ledger, self._pace)
            changed += ledger.settle(wait_for=ledger.strangers())
        return changed


class Watch:
    """The two loops."""

    def __init__(
        self, picture: Picture, listeners: Listeners, sources: Sources, gateway: GatewayBook, plugs: Plugs,
        installation: Installation,
    ) -> None:  # fmt: skip
        self._picture = picture
        self._listeners = listeners
        self._sources = sources
        self._gateway = gateway
        self._plugs = plugs
        self._installation = installation
        self._pace = Pace()
        self._books = BooksReader(sources, gateway, picture, self._pace)
        self._paced_at = 0
        self._reading = asyncio.Lock()
        self._looking = asyncio.Lock()

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._repeat(self.read_books, READ_S))
            tasks.create_task(self._repeat(self.read_states, STATE_S))

    async def catch_up(self) -> None:
        """Read everything now: for somebody who begins to look. What can't be read stays as it was, and old."""
        await asyncio.gather(self._try(self.read_books), self._try(self.read_states))

    async def open_count(self) -> int:
        """How many orders are open, also while nobody looks."""
        as_of = self._picture.as_of
        if as_of is None or (datetime.now(UTC) - as_of).total_seconds() > OPEN_COUNT_S:
            await self._try(self.read_books)
        return self._picture.ledger.totals.open_count

    def stream_is(self, per_s: float) -> None:
        """So many orders are placed a second from now on."""
        self._picture.per_s = per_s
        self._listeners.tell([STREAM])

    async def read_books(self) -> None:
        """Read the books on, and tell the listeners."""
        async with self._reading:
            parts = await self._books.read()
            now_s = time.time()
            self._picture.pace = self._pace.points(now_s)
            if int(now_s) != self._paced_at:
                self._paced_at = int(now_s)
                parts.append(PACE)
            self._listeners.tell(parts)

    async def read_states(self) -> None:
        """Look at the plugs, the gateway, and the breaker. One look at a time: an older one must not be told last."""
        async with self._looking:
            plugs, mode, breaker = await asyncio.gather(
                self._plugs.look(), self._installation.gateway_mode(), self._installation.breaker(self._gateway)
            )
            self._listeners.tell(self._changed(plugs, mode, breaker))

    def _changed(self, plugs: dict[str, Mapping[str, Any]], mode: str, breaker: Mapping[str, Any]) -> list[Part]:
        """Put it into the picture; return what is new in it."""
        parts: list[Part] = [("plug", name) for name, plug in plugs.items() if self._picture.plugs.get(name) != plug]
        self._picture.plugs = plugs
        if mode != self._picture.mode:
            self._picture.mode = mode
            parts.append(GATEWAY)
        if breaker != self._picture.breaker:
            self._picture.breaker = breaker
            parts.append(BREAKER)
        return parts

    async def _repeat(self, step: Callable[[], Awaitable[None]], every_s: float) -> None:
        while True:
            await self._listeners.somebody()
            is_well = await self._try(step)
            await asyncio.sleep(every_s if is_well else RETRY_S)

    async def _try(self, step: Callable[[], Awaitable[None]]) -> bool:
        """Do one step. A book that can't be read now is no reason to end: what is shown has its time beside it."""
        try:
            await step()
        except (psycopg.Error, sqlite3.Error, OSError, httpx.HTTPError) as error:
            log.warning("can't read what the floor shows, trying again: %r", error)
            if isinstance(error, psycopg.Error):
                await self._sources.close()
            return False
        return True
