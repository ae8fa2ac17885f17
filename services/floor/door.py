"""What every answer of the floor has: a strict policy of what the page may load, and how long it may be kept.

Who may come in says `LocalOnly`: this machine's browser, with this page.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.api import Bounds, LocalOnly
from services.floor.limits import BODY_BYTES_MAX, BODY_S, BURST_MAX, HEAD_BYTES_MAX, RATE_PER_S

BOUNDS = Bounds(HEAD_BYTES_MAX, BODY_BYTES_MAX, BODY_S, RATE_PER_S, BURST_MAX)
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

    def __init__(self, app: ASGIApp, cache: bytes = CACHE_NOTHING) -> None:
        self._app = LocalOnly(app, BOUNDS)
        self._cache = cache

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_all(message: Message) -> None:
            await send(self._with_all(message) if message["type"] == "http.response.start" else message)

        await self._app(scope, receive, send_with_all)

    def _with_all(self, start: Message) -> Message:
        kept = [(name, value) for name, value in start.get("headers", []) if name.lower() != b"cache-control"]
        cache = self._cache if start["status"] < 400 else CACHE_NOTHING
        return {**start, "headers": [*kept, *ALWAYS, (b"cache-control", cache)]}
