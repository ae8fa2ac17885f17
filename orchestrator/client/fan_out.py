"""What moves, for all who watch through one client: one task looks, four times a second, and everybody gets the news.

Whoever is slow gets them merged: each keeps a set of sagas, not a queue of moves.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg

from orchestrator import limits
from orchestrator.client import reading, watching
from orchestrator.client.answers import Missed, Moved, Opened, SagaRow, TookOver, Watched
from orchestrator.client.requests import Steps
from orchestrator.client.watching import Cursor, Follower, News
from orchestrator.errors import AmendsError

log = logging.getLogger("orchestrator.client")

LOOK_S = 0.25
RETRY_S = 1.0
RENEW_S = limits.WATCHER_FRESH_S / 5
ROWS_AT_ONCE_MAX = 1_000
PENDING_MAX = 20_000  # sagas that moved and were not fetched by a slow watcher: then he has to read the list anew

Run = Callable[[Steps[Any]], Awaitable[Any]]


class Subscription:
    """One who watches. `news` waits until there is something."""

    def __init__(self, cursor: Cursor | None) -> None:
        self.resumes_at = cursor
        self.cursor: Cursor | None = None
        self._saga_nos: dict[int, None] = {}
        self._takeovers: list[TookOver] = []
        self._opened, self._missed = False, ""
        self._is_open = False
        self._error: BaseException | None = None
        self._bell = asyncio.Event()

    async def news(self) -> News:
        """All that came since the last time. Raises what ended the fan-out."""
        await self._bell.wait()
        self._bell.clear()
        if self._error is not None:
            raise self._error
        found = News(self._opened, self._missed, tuple(self._saga_nos), tuple(self._takeovers))
        self._opened, self._missed = False, ""
        self._saga_nos, self._takeovers = {}, []
        return found

    def tell(self, news: News, cursor: Cursor) -> None:
        """Add to what waits. Of what opened for others long ago, the first word is that it is open for us, too."""
        if news.missed and self._is_open:
            self._missed, self._is_open = news.missed, False
            self._saga_nos, self._takeovers = {}, []
        if not self._is_open:
            self._is_open = self._opened = True
        self._saga_nos |= dict.fromkeys(news.saga_nos)
        self._takeovers += news.takeovers
        if len(self._saga_nos) + len(self._takeovers) > PENDING_MAX:
            self._opened, self._missed = True, f"more than {PENDING_MAX:,} sagas moved before they were asked for"
            self._saga_nos, self._takeovers = {}, []
        self.cursor = cursor
        if self._opened or self._missed or self._saga_nos or self._takeovers:
            self._bell.set()

    def take_up(self, news: News | None, cursor: Cursor) -> None:
        """Go on at the cursor that it came with; None: what was since then is not known any more."""
        assert self.resumes_at is not None
        begun, self.resumes_at = self.resumes_at, None
        self._is_open = True
        if news is None:
            self.lose("what moved since the cursor is not known any more")
            self.tell(News(), cursor)
        else:
            self.tell(news, begun)

    def lose(self, why: str) -> None:
        """Something was missed, and it is not known yet when it goes on."""
        if self._is_open:
            self._missed, self._is_open = why, False
            self._saga_nos, self._takeovers = {}, []
            self._bell.set()

    def fail(self, error: BaseException) -> None:
        self._error = error
        self._bell.set()


class FanOut:
    """Of one client, on its loop. It looks while somebody watches, and no longer."""

    def __init__(self, write: Run, read_at_once: Run) -> None:
        self._write, self._read_at_once = write, read_at_once
        self._subscriptions: set[Subscription] = set()
        self._task: asyncio.Task[None] | None = None
        self._watcher = ""
        self._opened_at = datetime.fromtimestamp(0, UTC)
        self._follower = Follower(0)
        self._renewed_s = 0.0

    @contextlib.asynccontextmanager
    async def subscribed(self, cursor: Cursor | None = None) -> AsyncIterator[Subscription]:
        """Watch from now on, or from where a cursor says."""
        one = Subscription(cursor)
        self._subscriptions.add(one)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="amends-fan-out")
        try:
            yield one
        finally:
            self._subscriptions.discard(one)

    async def close(self) -> None:
        """End the task. Whoever still watches hears of it."""
        for one in self._subscriptions:
            one.fail(AmendsError("the client was closed while it was watched through"))
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        has_been_well = False
        while self._subscriptions:
            try:
                await self._round()
                has_been_well = True
                pause_s = LOOK_S
            except (AmendsError, psycopg.OperationalError) as error:
                if not has_been_well:
                    self._fail(error)
                    return
                log.debug("what moved can't be read now (%s); trying again", error)
                pause_s = RETRY_S
            except Exception as error:
                self._fail(error)
                raise
            await asyncio.sleep(pause_s)

    def _fail(self, error: Exception) -> None:
        for one in self._subscriptions:
            one.fail(error)

    async def _round(self) -> None:
        await self._keep_registered()
        await self._resume()
        seen = await self._read_at_once(
            watching.look(self._watcher, self._opened_at, self._follower.from_xid, self._follower.at_us)
        )
        news = self._follower.note(seen)
        if news.opened or news.missed:  # others go by it, who come with a cursor
            await self._write(watching.renew(self._watcher, self._follower.whole_from))
        for one in self._subscriptions:
            if self._follower.is_whole and one.resumes_at is None:
                one.tell(news, self._follower.cursor)
            elif news.missed:
                one.lose(news.missed)
        if news.missed and not seen.is_registered:
            self._watcher = ""

    async def _keep_registered(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._watcher and now_s - self._renewed_s < RENEW_S:
            return
        if not self._watcher or not await self._write(watching.renew(self._watcher, self._follower.whole_from)):
            was_whole = self._follower.is_whole
            self._watcher = str(uuid4())
            self._opened_at = await self._write(watching.register(self._watcher))
            self._follower = Follower(int(self._opened_at.timestamp() * 1e6))
            if was_whole:
                for one in self._subscriptions:
                    one.lose("the database was not reached in time, so orchestrators left off telling")
        self._renewed_s = now_s

    async def _resume(self) -> None:
        """Give those who bring a cursor what moved since; what comes at the same time is told twice."""
        if not self._follower.is_whole:
            return
        for one in list(self._subscriptions):
            if one.resumes_at is None:
                continue
            one.take_up(await self._read_at_once(watching.since(one.resumes_at)), self._follower.cursor)


async def told(
    subscription: Subscription, read_at_once: Run, *, id: str | None, type: str | None
) -> AsyncIterator[Watched]:
    """What `Client.watch` yields. Each event but the last of some news has the cursor from before them."""
    before = ""
    while True:
        news = await subscription.news()
        cursor = str(subscription.cursor or "")
        if news.missed:
            yield Missed(news.missed)
        if news.opened:
            yield Opened(cursor)
        for one in news.takeovers:
            yield replace(one, cursor=before)
        rows = await _rows(news, read_at_once, id)
        chosen = [row for row in rows if id in (None, row.id) and type in (None, row.type)]
        for n, row in enumerate(chosen, 1):
            yield Moved(row, cursor if n == len(chosen) else before)
            if id is not None and row.ended_at is not None:
                return
        before = cursor


async def _rows(news: News, read_at_once: Run, id: str | None) -> list[SagaRow]:
    """Of one saga its row is read whenever nothing is known of it."""
    if id is not None and news.opened:
        return [await read_at_once(reading.row(id))]
    saga_nos, rows = news.saga_nos, []
    for first in range(0, len(saga_nos), ROWS_AT_ONCE_MAX):
        rows += await read_at_once(reading.rows_of(saga_nos[first : first + ROWS_AT_ONCE_MAX]))
    return rows
