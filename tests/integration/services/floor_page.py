"""A page as a browser has it: it listens to the floor, keeps what it hears, and presses buttons."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import httpx

from tests.deadlines import deadline

T = TypeVar("T")


class Page:
    """What was heard so far. `adrift`: every headline that was ever shown."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.names: list[str] = []
        self.books: dict[str, Any] = {}
        self.plugs: dict[str, Any] = {}
        self.totals: dict[str, Any] = {}
        self.mode: str | None = None
        self.breaker: dict[str, Any] = {}
        self.pace: list[Any] = []
        self.per_s = 0.0
        self.adrift: set[str] = set()
        self.listening: asyncio.Task[None] | None = None
        self._is_changed = asyncio.Event()

    def look(self) -> None:
        """Ask again."""
        self._is_changed.set()

    async def press(self, path: str, body: Any = None, *, expects: int) -> Any:
        """POST to /floor; return the body of the answer."""
        answer = await self.client.post(f"/floor{path}", json={} if body is None else body)
        assert answer.status_code == expects, answer.text
        return answer.json()

    async def order(self, **wish: Any) -> str:
        """Place an order; return its id."""
        placed = await self.press("/orders", wish, expects=201)
        assert placed["order_id"] == placed["saga_id"]
        return str(placed["order_id"])

    async def until(self, ask: Callable[[], T | None], seconds: float, what: str) -> T:
        """Wait for something to be heard."""
        try:
            async with asyncio.timeout(deadline(seconds)):
                while not (answer := ask()):
                    if self.listening is not None and self.listening.done():
                        self.listening.result()
                        raise AssertionError(f"the floor has ended its stream while waited for: {what}")
                    self._is_changed.clear()
                    await self._is_changed.wait()
        except TimeoutError:
            raise AssertionError(f"{what}: not within {deadline(seconds):.0f} s. {self.totals} {self.plugs}") from None
        return answer

    async def ended(self, order_id: str, status: str, seconds: float = 20) -> Any:
        """Wait until the order service says so, and the books of the gateway and the kitchen have it, too."""
        return await self.until(
            lambda: self.books.get(order_id, {}).get("order", {}).get("status") == status and self.books[order_id],
            seconds,
            f"{order_id} is {status}; {self.books.get(order_id)}",
        )

    async def plug(self, name: str, state: str, seconds: float = 30) -> Any:
        """Wait until a plug is so."""
        return await self.until(
            lambda: self.plugs[name]["state"] == state and self.plugs[name], seconds, f"{name} is {state}"
        )

    def hear(self, name: str, data: Any) -> None:
        """One event."""
        self.names.append(name)
        match name:
            case "all":
                self.plugs = {plug["name"]: plug for plug in data["plugs"]}
                self.mode, self.breaker, self.per_s = data["gateway"]["mode"], data["breaker"], data["stream_per_s"]
                self.pace = data["pace"]
                self._books(data)
            case "books":
                self._books(data)
            case "plug":
                self.plugs[data["name"]] = data
            case "gateway":
                self.mode = data["mode"]
            case "breaker":
                self.breaker = data
            case "pace":
                self.pace.append(data)
            case "stream":
                self.per_s = data["per_s"]
            case _:
                raise AssertionError(f"no page knows the event {name}")
        self._is_changed.set()

    def _books(self, data: Any) -> None:
        self.books |= {book["order_id"]: book for book in data["orders"]}
        self.totals = data["totals"]
        self.adrift.add(self.totals["adrift"])


@asynccontextmanager
async def page_of(url: str) -> AsyncIterator[Page]:
    """Open a page, and wait until it shows something."""
    async with httpx.AsyncClient(base_url=url, timeout=deadline(15)) as client:
        page = Page(client)
        listening = page.listening = asyncio.create_task(_listen(page))
        listening.add_done_callback(lambda _: page.look())
        try:
            await page.until(lambda: page.names, 10, "the first event has come")
            yield page
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening


async def _listen(page: Page) -> None:
    async with page.client.stream("GET", "/floor/events", timeout=None) as answer:
        assert answer.status_code == 200
        name = ""
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                page.hear(name, json.loads(line.removeprefix("data: ")))
