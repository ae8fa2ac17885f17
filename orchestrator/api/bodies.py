"""How large a request may be: its head before anything of it is read, its body while it comes."""

import asyncio
from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope

from orchestrator.api import problems


def head_bytes(scope: Scope) -> int:
    """Servers have limits of their own, but some look only at what is not complete yet."""
    listed = sum(len(name) + len(value) for name, value in scope["headers"])
    return listed + len(scope.get("raw_path") or scope["path"]) + len(scope.get("query_string", b""))


class Body:
    """Counts a body as it comes, and its time: what it says of its length is not believed.

    `receive` raises HTTPException, the one error that FastAPI lets through while it reads a body: 413, and 408 after
    `seconds`.
    """

    def __init__(self, receive: Receive, bytes_max: int, seconds: float | None = None) -> None:
        self._receive = receive
        self._bytes_max = bytes_max
        self._seconds = seconds
        self._bytes = 0
        self._is_whole = False

    def is_announced_too_large(self, headers: Mapping[str, str]) -> bool:
        """Then nothing of it need be read."""
        length = headers.get("content-length", "")
        return length.isdecimal() and (len(length) > 12 or int(length) > self._bytes_max)

    async def receive(self) -> Message:
        """After the body only a disconnect comes, and a stream waits for that as long as it lives."""
        try:
            async with asyncio.timeout(None if self._is_whole else self._seconds):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, f"The body took longer than {self._seconds:g} s. {problems.UNCHANGED}") from None
        self._bytes += len(message.get("body", b""))
        self._is_whole = message["type"] == "http.request" and not message.get("more_body", False)
        if self._bytes > self._bytes_max:
            raise HTTPException(413, problems.too_large(self._bytes_max).detail)
        return message
