"""Who reaches an application without tokens: this machine's browser, with a page of this very origin."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from orchestrator.api import Bounds, LocalOnly

BOUNDS = Bounds(head_bytes=2_000, body_bytes=1_000, body_s=0.05, per_s=5, burst=20)

JSON = {"content-type": "application/json"}


async def echo(request: Request) -> JSONResponse:
    return JSONResponse({"bytes": len(await request.body())})


@pytest.fixture
async def asks() -> AsyncIterator[httpx.AsyncClient]:
    door = LocalOnly(Starlette(routes=[Route("/", echo, methods=["GET", "POST"])]), BOUNDS)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://127.0.0.1:8080") as client:
        yield client


async def test_this_machines_browser_comes_in(asks: httpx.AsyncClient) -> None:
    answer = await asks.post("/", content=b"{}", headers={**JSON, "origin": "http://127.0.0.1:8080"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "shop.example"}, 403),
        ({"host": "127.0.0.1.example"}, 403),
        ({"host": "["}, 403),
        ({"x-forwarded-for": "10.0.0.1"}, 403),
        ({"origin": "http://127.0.0.1:8081"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "https://127.0.0.1:8080"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "text/plain; application/json"}, 415),
        ({"x-long": "x" * BOUNDS.head_bytes}, 431),
    ],
)
async def test_nobody_else_changes_anything(asks: httpx.AsyncClient, headers: dict[str, str], status: int) -> None:
    answer = await asks.post("/", content=b"{}", headers={**JSON, **headers})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"].endswith("Nothing was changed.")


async def test_a_link_from_elsewhere_opens_the_page_and_a_page_from_elsewhere_gets_nothing(
    asks: httpx.AsyncClient,
) -> None:
    elsewhere = {"sec-fetch-site": "cross-site"}
    assert (await asks.get("/", headers={**elsewhere, "sec-fetch-mode": "navigate"})).status_code == 200
    assert (await asks.get("/", headers={**elsewhere, "sec-fetch-mode": "cors"})).status_code == 403


async def test_a_caller_from_elsewhere_is_refused() -> None:
    door = LocalOnly(Starlette(routes=[Route("/", echo)]))
    transport = httpx.ASGITransport(door, client=("192.0.2.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.get("/")).status_code == 403


async def test_a_large_body_is_refused_whatever_it_says_of_its_length(asks: httpx.AsyncClient) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * (BOUNDS.body_bytes // 2)

    assert (await asks.post("/", content=b"x" * BOUNDS.body_bytes, headers=JSON)).status_code == 200
    assert (await asks.post("/", content=parts(), headers=JSON)).status_code == 413


async def test_a_body_that_trickles_is_ended(asks: httpx.AsyncClient) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    assert (await asks.post("/", content=trickle(), headers=JSON)).status_code == 408


def test_bounds_that_let_nobody_in_are_no_bounds() -> None:
    with pytest.raises(ValueError, match="nobody could ask"):
        Bounds(per_s=0)


async def test_too_many_requests_are_told_to_come_again_and_then_may() -> None:
    now_s = [100.0]
    door = LocalOnly(Starlette(routes=[Route("/", echo)]), BOUNDS, clock=lambda: now_s[0])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://localhost") as client:
        statuses = [(await client.get("/")).status_code for _ in range(BOUNDS.burst)]
        refused = await client.get("/")
        now_s[0] += int(refused.headers["retry-after"])
        after = [(await client.get("/")).status_code for _ in range(int(BOUNDS.per_s) + 1)]
    assert statuses == [200] * BOUNDS.burst
    assert refused.status_code == 429
    assert after == [200] * int(BOUNDS.per_s) + [429]
