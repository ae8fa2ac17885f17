"""Who may come in: this machine's browser, with this page. The mounted API has a guard of its own.

There is no token here, so what would make a foreign page dangerous is refused: a Host that is not loopback (a foreign
name made to point to this machine), a request through a proxy, another Origin, a body that is not JSON. The rest are
limits: on the size of a request, on how many come, and on how long a body takes.
"""

import asyncio
import ipaddress
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.floor.limits import BODY_BYTES_MAX, BODY_S, BURST_MAX, HEAD_BYTES_MAX, RATE_PER_S
from services.floor.problems import MEDIA_TYPE, Problem

LOOKING = ("GET", "HEAD")
OUR_SITES = ("same-origin", "none")  # none: somebody typed the address
FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
UNCHANGED = "Nothing was changed."
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
ALWAYS = (
    (b"content-security-policy", CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
# Revalidated each time, by its ETag: over loopback that costs nothing, and nobody looks at the page of yesterday.
CACHE_FILES = b"no-cache"
CACHE_NOTHING = b"no-store"


class Door:
    """Wraps an application. `cache`: what its good answers say of being kept."""

    def __init__(self, app: ASGIApp, cache: bytes = CACHE_NOTHING, clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._cache = cache
        self._left = float(BURST_MAX)
        self._clock = clock
        self._left_at_s = clock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        answer = Answer(send, self._cache)
        headers = Headers(scope=scope)
        problem = self._refusal(scope, headers)
        if problem is not None:
            await answer.refuse(problem, scope["path"])
            return
        await self._app(scope, Body(receive).receive, answer.send)

    def _refusal(self, scope: Scope, headers: Headers) -> Problem | None:
        if (why := _why_not_local(scope, headers)) is not None:
            return Problem(403, "forbidden", f"{why} The floor is for this machine's browser only. {UNCHANGED}")
        if (wait_s := self._wait_s()) > 0:
            text = f"More than {RATE_PER_S:g} requests a second. Come again in {wait_s} s. {UNCHANGED}"
            return Problem(429, "too-many", text, {"retry-after": str(wait_s)})
        if _head_bytes(scope) > HEAD_BYTES_MAX:
            return Problem(
                431, "head-too-large", f"Path and headers have {HEAD_BYTES_MAX:,} bytes at most. {UNCHANGED}"
            )
        return _refused_look(headers) if scope["method"] in LOOKING else _refused_change(scope, headers)

    def _wait_s(self) -> int:
        """A bucket of BURST_MAX that fills again by RATE_PER_S; 0: go ahead."""
        now_s = self._clock()
        self._left = min(float(BURST_MAX), self._left + (now_s - self._left_at_s) * RATE_PER_S)
        self._left_at_s = now_s
        if self._left < 1:
            return 1
        self._left -= 1
        return 0


class Body:
    """Counts a body as it comes, and its time: what it says of its length is not believed."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._bytes = 0
        self._is_whole = False

    async def receive(self) -> Message:
        """After the body only a disconnect comes, and a stream waits for that as long as it lives."""
        try:
            async with asyncio.timeout(None if self._is_whole else BODY_S):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, f"The body took longer than {BODY_S:g} s. {UNCHANGED}") from None
        self._bytes += len(message.get("body", b""))
        self._is_whole = message["type"] == "http.request" and not message.get("more_body", False)
        if self._bytes > BODY_BYTES_MAX:
            raise HTTPException(413, f"A body has {BODY_BYTES_MAX:,} bytes at most. {UNCHANGED}")
        return message


class Answer:
    """Adds what every answer has."""

    def __init__(self, send: Send, cache: bytes) -> None:
        self._send = send
        self._cache = cache

    async def send(self, message: Message) -> None:
        """One message of the answer."""
        if message["type"] == "http.response.start":
            kept = [(name, value) for name, value in message.get("headers", []) if name.lower() != b"cache-control"]
            is_good = message["status"] < 400
            cache = (b"cache-control", self._cache if is_good else CACHE_NOTHING)
            message = {**message, "headers": [*kept, *ALWAYS, cache]}
        await self._send(message)

    async def refuse(self, problem: Problem, instance: str) -> None:
        """Answer with a problem; nothing was sent before."""
        body = problem.body(instance)
        headers = [(name.encode(), value.encode()) for name, value in problem.headers.items()]
        headers += [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
        await self.send({"type": "http.response.start", "status": problem.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def _refused_look(headers: Headers) -> Problem | None:
    """A link from elsewhere opens the page; a page from elsewhere gets nothing of it, not even an open stream."""
    is_ours = headers.get("sec-fetch-site", "same-origin") in OUR_SITES
    if is_ours or headers.get("sec-fetch-mode") == "navigate":
        return None
    return Problem(403, "forbidden", f"It is of a page of another site. {UNCHANGED}")


def _refused_change(scope: Scope, headers: Headers) -> Problem | None:
    """Of what would change something: only this page may, and only with JSON, which no form of another can send."""
    own = f"{scope.get('scheme', 'http')}://{headers.get('host', '')}"
    origin = headers.get("origin")
    if origin is not None and origin != own:
        return Problem(403, "forbidden", f"It is of a page of another origin. {UNCHANGED}")
    if headers.get("sec-fetch-site", "same-origin") not in OUR_SITES:
        return Problem(403, "forbidden", f"It is of a page of another site. {UNCHANGED}")
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        text = f"It needs a body, and the header `Content-Type: application/json`. {UNCHANGED}"
        return Problem(415, "not-json", text)
    return None


def _why_not_local(scope: Scope, headers: Headers) -> str | None:
    client = scope.get("client")
    if client is not None and not is_loopback(client[0]):
        return f"It comes from {client[0]}."
    if through := [name for name in FORWARDED if name in headers]:
        return f"It comes through a proxy ({', '.join(through)})."
    try:
        host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:
        host = ""
    return None if is_loopback(host) else f"It is for the host {host[:100]!r}."


def is_loopback(host: str) -> bool:
    """Whether a name or an address is this machine and nobody else's."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _head_bytes(scope: Scope) -> int:
    listed = sum(len(name) + len(value) for name, value in scope["headers"])
    return listed + len(scope.get("raw_path") or scope["path"]) + len(scope.get("query_string", b""))
