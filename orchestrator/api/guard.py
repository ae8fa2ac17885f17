"""What stands before every request: who asks, from where, how often, how much, and for how long.

Plain ASGI, so that a body is counted while it comes and nothing of a refused request is parsed. There are no cookies: a
browser sends no token by itself, so a foreign page can only reach an API without tokens. That one answers to this
machine alone (`loopback`), and where something is changed by JSON only, which no form can send.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.api import limits, problems
from orchestrator.api.bodies import Body, head_bytes
from orchestrator.api.buckets import Buckets
from orchestrator.api.loopback import LOOKING, is_of_another_page, why_not_local
from orchestrator.api.problems import Problem
from orchestrator.api.tokens import LOCAL, Caller, Token, caller_with

log = logging.getLogger("orchestrator.api")

OPEN_PATHS = ("/v1/health",)  # a probe has no token, and hears no more than yes or no
PROBE = ""  # the name of whoever comes to these without a token
GUESSES = "/"  # no token has this name: what was refused is counted under it
CALLER = "amends.caller"
STREAM_TYPE = "text/event-stream"
ALWAYS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
LOCAL_TODO = "Without tokens it answers to this machine only: set AMENDS_API_TOKENS (`amends api token NAME ROLE`)."
ANOTHER_PAGE = "It is of a page of another origin; AMENDS_API_ORIGINS names those that may."


class Guard:
    """Wraps the API. `tokens` empty: this machine only."""

    def __init__(self, app: ASGIApp, tokens: Sequence[Token], origins: Sequence[str]) -> None:
        self._app = app
        self._tokens = tuple(tokens)
        self._origins = frozenset(origins)
        self._buckets = Buckets()
        self._at_once = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        answer = Answer(send, scope["path"])
        if self._at_once >= limits.REQUESTS_AT_ONCE_MAX:
            await answer.refuse(problems.too_busy())
            return
        self._at_once += 1
        try:
            await self._bounded(scope, receive, answer)
        finally:
            self._at_once -= not answer.is_stream

    async def _bounded(self, scope: Scope, receive: Receive, answer: "Answer") -> None:
        waiting = asyncio.timeout(limits.REQUEST_S)

        def stream_begins() -> None:
            """Streams have no end of their own, and a limit of their own."""
            waiting.reschedule(None)
            self._at_once -= 1

        answer.stream_begins = stream_begins
        try:
            async with waiting:
                await self._checked(scope, receive, answer)
        except TimeoutError:
            if not waiting.expired():
                raise
            log.warning("a request took longer than %g s: %s %s", limits.REQUEST_S, scope["method"], scope["path"])
            await answer.refuse(problems.too_slow())

    async def _checked(self, scope: Scope, receive: Receive, answer: "Answer") -> None:
        if head_bytes(scope) > limits.HEAD_BYTES_MAX:
            await answer.refuse(problems.head_too_large())
            return
        headers = Headers(scope=scope)
        found = self._caller(scope, headers)
        if isinstance(found, Problem):
            # What is refused counts, too, so that nobody guesses tokens as fast as the network is.
            retry_after_s = self._buckets.take(GUESSES)
            await answer.refuse(found if retry_after_s is None else _too_many(retry_after_s))
            return
        if (retry_after_s := self._buckets.take(found.name)) is not None:
            await answer.refuse(_too_many(retry_after_s))
            return
        if scope["method"] not in LOOKING and (refused := self._refusal(scope, headers, found)) is not None:
            await answer.refuse(refused)
            return
        body = Body(receive, limits.BODY_BYTES_MAX)
        if body.is_announced_too_large(headers):
            await answer.refuse(problems.too_large())
            return
        inner: Scope = {**scope, "path": raw_path(scope), CALLER: found}
        await self._app(inner, body.receive, answer.send)

    def _caller(self, scope: Scope, headers: Headers) -> Caller | Problem:
        if not self._tokens:
            return self._local_caller(scope, headers)
        scheme, _, text = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and len(text) <= limits.TOKEN_CHARS_MAX:
            found = caller_with(text.strip(), self._tokens)
            if found is not None:
                return found
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        return Caller(PROBE, "read") if path in OPEN_PATHS and not text else problems.unauthenticated()

    def _local_caller(self, scope: Scope, headers: Headers) -> Caller | Problem:
        """Without tokens a page of another site gets nothing at all: it could take all places of the streams."""
        if (why_not := why_not_local(scope, headers)) is not None:
            return problems.forbidden(f"{why_not} {LOCAL_TODO}")
        if is_of_another_page(scope, headers, self._origins):
            return problems.forbidden(ANOTHER_PAGE)
        return Caller(LOCAL, "operate")

    def _refusal(self, scope: Scope, headers: Headers, caller: Caller) -> Problem | None:
        """Of what would change something."""
        if caller.role != "operate":
            return problems.forbidden("It needs a token of the role `operate`; this one is of `read`.")
        return problems.forbidden(ANOTHER_PAGE) if is_of_another_page(scope, headers, self._origins) else None


class Answer:
    """Adds what every answer has; after it has begun nothing can be refused any more."""

    def __init__(self, send: Send, instance: str) -> None:
        self._send = send
        self._instance = instance
        self._begun = False
        self.is_stream = False
        self.stream_begins: Callable[[], None] = lambda: None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._begun = True
            if Headers(raw=message.get("headers", [])).get("content-type", "").startswith(STREAM_TYPE):
                self.is_stream = True
                self.stream_begins()
            names = {name for name, _ in ALWAYS}
            kept = [(name, value) for name, value in message.get("headers", []) if name.lower() not in names]
            message = {**message, "headers": [*kept, *ALWAYS]}
        await self._send(message)

    async def refuse(self, problem: Problem) -> None:
        if self._begun:
            return
        await problems.send_problem(self.send, problem, self._instance)


def _too_many(retry_after_s: int) -> Problem:
    return problems.too_many(retry_after_s, limits.RATE_PER_S, " with one token")


def raw_path(scope: Scope) -> str:
    """The path as it was sent: in an id, `%2F` is a letter and `/` is none. The routes decode what they take of it."""
    sent: bytes | None = scope.get("raw_path")
    return scope["path"] if sent is None else sent.partition(b"?")[0].decode("ascii", "replace")
