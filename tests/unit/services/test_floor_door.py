"""What every answer of the floor has, the refused ones included. Who may come in: tests/unit/api/test_local_only.py."""

from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from services.floor.door import CACHE_FILES, CSP, Door


async def kept(_: Request) -> PlainTextResponse:
    return PlainTextResponse("a file", headers={"Cache-Control": "max-age=99"})


@pytest.fixture
async def asks() -> AsyncIterator[httpx.AsyncClient]:
    door = Door(Starlette(routes=[Route("/file", kept)]), CACHE_FILES)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://127.0.0.1:8080") as client:
        yield client


@pytest.mark.parametrize(
    ("path", "headers", "status", "cache"),
    [
        ("/file", {}, 200, "no-cache"),
        ("/none", {}, 404, "no-store"),
        ("/file", {"host": "shop.example"}, 403, "no-store"),
    ],
)
async def test_every_answer_has_the_policy(
    asks: httpx.AsyncClient, path: str, headers: dict[str, str], status: int, cache: str
) -> None:
    answer = await asks.get(path, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-security-policy"] == CSP
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers.get_list("cache-control") == [cache]
