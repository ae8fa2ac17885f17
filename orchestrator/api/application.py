"""`create_api`: the whole API as an ASGI app."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from pydantic import SecretStr
from starlette.exceptions import HTTPException

from orchestrator.api import desk, installation, problems, sagas, streams
from orchestrator.api.access import Access, service_clients
from orchestrator.api.documented import with_problems
from orchestrator.api.guard import Guard
from orchestrator.api.problems import Problem
from orchestrator.api.tokens import Token, parse_tokens
from orchestrator.app import App
from orchestrator.client import Client
from orchestrator.errors import AmendsError
from orchestrator.settings import Settings, read_settings
from outbox_relay.errors import OutboxError

log = logging.getLogger("orchestrator.api")

VERSION = "1"
ABOUT = """Sagas: start them, see them, send to them, and help those that wait for a person.

A token goes into `Authorization: Bearer …`; looking needs the role read or operate, all else operate. What changes
something is JSON. Errors are application/problem+json."""

ROUTERS = (sagas.router, streams.router, desk.router, installation.router, installation.health_router)
_BEARER = HTTPBearer(auto_error=False, description="A token of AMENDS_API_TOKENS; the guard checks it.")


class Api(FastAPI):
    """FastAPI, with problems in its document."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open what it needs, and close it. Enter this in the lifespan of an app that mounts it: nobody else does."""
        async with self.router.lifespan_context(self):
            yield

    def openapi(self) -> dict[str, Any]:
        if not self.openapi_schema:
            self.openapi_schema = with_problems(super().openapi())
        return self.openapi_schema


def create_api(
    settings: Settings | None = None,
    *,
    client: Client | None = None,
    app: App | None = None,
    tokens: Sequence[Token] | None = None,
) -> Api:
    """An ASGI app, to be served by itself, or mounted in one of yours whose lifespan enters `running`.

    Without settings they are read from the environment. A `client` of yours is used, and left open. With `app` its
    sagas' inputs are checked, and its messages known. `tokens` None: those of the settings. Raises DependencyError for
    settings that can't be.
    """
    settings = settings or read_settings()
    used = Access(client or Client(settings), settings, app, service_clients(settings))
    chosen = parse_tokens(settings.api_tokens) if tokens is None else tuple(tokens)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if client is None:
                await stack.enter_async_context(used.client)
            for service in used.services.values():
                await stack.enter_async_context(service)
            yield

    api = Api(title="Amends", version=VERSION, description=ABOUT, lifespan=lifespan, docs_url=None, redoc_url=None,
              openapi_url="/v1/openapi.json", redirect_slashes=False)  # fmt: skip
    api.state.access = used
    for router in ROUTERS:
        needs = [] if router is installation.health_router else [Security(_BEARER)]
        api.include_router(router, dependencies=needs)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(HTTPException, _refused)
    for kind in (AmendsError, OutboxError, Exception):
        api.add_exception_handler(kind, _failed)
    origins = settings.api_origins.replace(",", " ").split()
    api.add_middleware(Guard, tokens=chosen, origins=origins)
    return api


def document() -> dict[str, Any]:
    """As `amends api --openapi` prints it: it needs neither a database nor a setting."""
    return create_api(Settings(database_url=SecretStr("postgresql://localhost/none")), tokens=()).openapi()


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
    is_no_json = any(one["type"] == "json_invalid" for one in error.errors())
    return _answer(request, problems.http_problem(400, found) if is_no_json else problems.invalid(found))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    match error.status_code:
        case 413:
            return _answer(request, problems.too_large())
        case 415:
            return _answer(request, problems.not_json())
        case 405:
            return _answer(request, problems.http_problem(405, error.detail, {"Allow": ", ".join(_methods(request))}))
    return _answer(request, problems.http_problem(error.status_code, error.detail, error.headers))


def _methods(request: Request) -> list[str]:
    """All that the path takes: the framework names those of its first route only."""
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    return sorted({method for route in routes if route.path_regex.match(path) for method in route.methods or ()})


async def _failed(request: Request, error: Exception) -> Response:
    problem = problems.problem_of(error)
    if problem.status == 500:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _answer(request, problem)


def _answer(request: Request, problem: Problem) -> Response:
    instance = request.scope["path"]
    return Response(problem.body(instance), problem.status, problem.headers, problems.MEDIA_TYPE)
