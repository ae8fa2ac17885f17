"""`LocalOnly`: an application without tokens, for this machine and for no page but its own.

    app = LocalOnly(pages, Bounds())

The API has this in its own guard, as long as it has no tokens; this is for what is served beside it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestrator.api import problems
from orchestrator.api.bodies import Body, head_bytes
from orchestrator.api.buckets import Bucket
from orchestrator.api.loopback import LOOKING, is_of_another_page, why_not_local
from orchestrator.api.problems import Problem, send_problem


@dataclass(frozen=True, slots=True)
class Bounds:
    """What may be asked at most. `head_bytes`: path, query and headers; `body_s`: until a body has come.

    `per_s` in the long run, `burst` at once: of all requests together.
    """

    head_bytes: int = 16 * 1024
    body_bytes: int = 16 * 1024
    body_s: float = 5.0
    per_s: float = 50.0
    burst: int = 200

    def __post_init__(self) -> None:
        if self.burst < 1 or self.per_s <= 0:
            raise ValueError(f"nobody could ask anything: burst={self.burst}, per_s={self.per_s}")


class LocalOnly:
    """Wraps an ASGI application; what it refuses it answers with application/problem+json, and does not call it.

    What changes something must be JSON, which no form of another page can send. A body that is too large (413) or too
    slow (408) is an HTTPException of Starlette where the application reads it.
    """

    def __init__(self, app: ASGIApp, bounds: Bounds | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._bounds = bounds or Bounds()
        self._bucket = Bucket(self._bounds.burst, self._bounds.per_s, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        if scope["type"] != "http":
            return
        refused = self._refusal(scope, Headers(scope=scope))
        if refused is not None:
            await send_problem(send, refused, scope["path"])
            return
        body = Body(receive, self._bounds.body_bytes, self._bounds.body_s)
        await self._app(scope, body.receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> Problem | None:
        if (why_not := why_not_local(scope, headers)) is not None:
            return problems.forbidden(f"{why_not} This is for this machine's browser only.")
        if (retry_after_s := self._bucket.take()) is not None:
            return problems.too_many(retry_after_s, self._bounds.per_s)
        if head_bytes(scope) > self._bounds.head_bytes:
            return problems.head_too_large(self._bounds.head_bytes)
        if is_of_another_page(scope, headers):
            return problems.forbidden("It is of a page of another origin.")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        return None if scope["method"] in LOOKING or kind == "application/json" else problems.not_json()
