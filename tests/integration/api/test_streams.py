"""Server-sent events beside a real orchestrator: `amends api` as a process, read as a browser reads it."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from orchestrator import Client
from orchestrator.api import limits
from tests.deadlines import deadline, eventually_async
from tests.integration.api.test_process import serving
from tests.integration.api.test_whole import Onward, posts
from tests.integration.engine.conftest import books, system
from tests.integration.engine.kit import System

__all__ = ["books", "system"]


@pytest.fixture
def database_template() -> None:
    """The kit migrates an empty one."""


@pytest.fixture
def base(books: System) -> Iterator[str]:
    books.orchestrator([posts])
    with serving(books.url) as url:
        yield f"{url}/v1"


@dataclass(frozen=True, slots=True)
class Event:
    name: str
    data: Any


class Stream:
    """What an EventSource does: `last_id` is what it would bring when it connects again."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.aiter_lines()
        self.last_id = ""

    async def until(self, name: str, **fields: Any) -> Event:
        """The next event of this name whose data has these."""
        async with asyncio.timeout(deadline(30)):
            while True:
                event = await self._next()
                if event.name == name and fields.items() <= event.data.items():
                    return event

    async def placed(self) -> str:
        """The next id, which ends some news."""
        before, self.last_id = self.last_id, ""
        async with asyncio.timeout(deadline(30)):
            while not self.last_id:
                await self._line()
        assert self.last_id != before or before
        return self.last_id

    async def _next(self) -> Event:
        name = data = ""
        while True:
            field, _, value = (await self._line()).partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                data += value
            elif not field and data:
                return Event(name, json.loads(data))

    async def _line(self) -> str:
        line = await anext(self._lines)
        if line.startswith("id: "):
            self.last_id = line.removeprefix("id: ")
        return line


@asynccontextmanager
async def streamed(url: str, **headers: str) -> AsyncIterator[Stream]:
    async with httpx.AsyncClient(timeout=deadline(30)) as asks, asks.stream("GET", url, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Stream(response)


async def test_all_sagas_are_told_as_they_move_and_as_the_list_has_them(books: System, base: str) -> None:
    async with streamed(f"{base}/events") as stream, Client(books.settings) as client:
        await stream.until("open")
        await client.start(posts, "ada", id="s-1")
        waiting = await stream.until("saga", id="s-1", waiting_for=["receive OnwardOverHttp"])
        assert [(op["kind"], op["state"]) for op in waiting.data["ops"]] == [("call", "succeeded"), ("receive", "open")]
        await client.send("s-1", Onward())
        told = (await stream.until("saga", id="s-1", status="completed")).data
    async with httpx.AsyncClient(base_url=base) as asks:
        assert (await asks.get("/sagas/s-1/outline")).json() == told
        assert (await asks.get("/outlines")).json() == {"outlines": [told], "next_cursor": None}
        whole = (await asks.get("/sagas/s-1")).json()
    assert told.items() <= whole.items()


async def test_one_saga_is_told_first_as_it_is(books: System, base: str) -> None:
    async with Client(books.settings) as client:
        await client.start(posts, "ada", id="here")
        async with streamed(f"{base}/sagas/here/events") as stream:
            await stream.until("open")
            first = await stream.until("saga")
            assert first.data["id"] == "here"
            await client.start(posts, "bob", id="elsewhere")
            await client.send("here", Onward())
            await stream.until("saga", id="here", status="completed")


async def test_who_comes_back_is_told_what_moved_meanwhile_and_need_not_begin_anew(books: System, base: str) -> None:
    async with streamed(f"{base}/events") as stream:
        await stream.until("open")
        last_id = await stream.placed()
    async with Client(books.settings) as client:
        await client.start(posts, "ada", id="between")
        await client.send("between", Onward())
        await client.result(posts, "between", timeout=deadline(30))
    async with streamed(f"{base}/events", **{"Last-Event-ID": last_id}) as stream:
        async with asyncio.timeout(deadline(30)):
            event = await stream._next()
        assert (event.name, event.data["id"], event.data["status"]) == ("saga", "between", "completed")


async def test_of_some_types_only(books: System, base: str) -> None:
    async with streamed(f"{base}/events?type=posts&type=other") as stream, Client(books.settings) as client:
        await stream.until("open")
        async with httpx.AsyncClient(base_url=base) as asks:
            assert (await asks.put("/sagas/unlike", json={"type": "unlike"})).status_code == 201
        await client.start(posts, "ada", id="alike")
        async with asyncio.timeout(deadline(30)):
            assert (await stream._next()).data["id"] == "alike"


async def test_what_can_not_be_watched_is_refused(base: str) -> None:
    async with httpx.AsyncClient(base_url=base) as asks:
        assert (await asks.get("/sagas/nobody/events")).json()["type"] == "urn:amends:saga-not-found"
        refused = await asks.get("/events", headers={"Last-Event-ID": "yesterday"})
        assert (refused.status_code, refused.json()["type"]) == (422, "urn:amends:request-refused")


async def test_streams_have_a_number_and_do_not_take_the_requests_places(base: str) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(limits.STREAMS_PER_TOKEN_MAX - 1):
            await stack.enter_async_context(streamed(f"{base}/events"))
        async with httpx.AsyncClient(base_url=base) as asks:
            async with streamed(f"{base}/events") as last:
                await last.until("open")
                refused = await asks.get("/events")
                assert (refused.status_code, refused.json()["title"]) == (429, "Too many streams")
                assert (await asks.get("/sagas")).status_code == 200

            async def has_place() -> bool:
                async with asks.stream("GET", "/events") as response:
                    return response.status_code == 200

            await eventually_async(has_place, 10, "a stream that was closed gives its place back")
