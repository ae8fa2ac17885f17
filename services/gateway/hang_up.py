"""Lets a handler close the connection without an answer, which HTTP servers otherwise take care not to do."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

EXTENSION = "amends.hang_up"


class HangUpProtocol(H11Protocol):
    """uvicorn's protocol; it hands its transport's `abort` to the application."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        inner = self.app

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope.setdefault("extensions", {})[EXTENSION] = self.transport.abort
            await inner(scope, receive, send)

        self.app = app


class NoAnswer(Response):
    """The connection is gone, and whoever asked does not know why."""

    def __init__(self, request: Request) -> None:
        super().__init__()
        self._hang_up = request.scope["extensions"][EXTENSION]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI's signature
        self._hang_up()
        # The server hears of it in the loop's next round; until then it would try to answer for us.
        while (await receive())["type"] != "http.disconnect":
            await asyncio.sleep(0)
