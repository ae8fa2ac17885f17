"""What a route has at hand: the client, the app's sagas, who asks, and the id out of the path."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar, cast
from urllib.parse import unquote

from fastapi import Depends, HTTPException, Path, Request
from pydantic import AfterValidator

from orchestrator import limits
from orchestrator.api import models
from orchestrator.api.guard import CALLER
from orchestrator.api.stream_places import Streams
from orchestrator.api.tokens import Caller
from orchestrator.app import App
from orchestrator.canonical import checked_name
from orchestrator.client import Client
from orchestrator.client.outlines import Outlined, Outlines
from orchestrator.client.requests import Steps
from orchestrator.errors import DependencyError, RequestError
from orchestrator.settings import Settings

_T = TypeVar("_T")
_SERVICE = re.compile(r"([A-Za-z0-9._-]{1,100})=(\S+)")


@dataclass(frozen=True, slots=True)
class Access:
    """Of one API. `services`: clients of the databases whose breakers it shows, by name."""

    client: Client
    settings: Settings
    app: App | None
    services: Mapping[str, Client] = field(default_factory=dict)
    outlines: Outlines = field(default_factory=Outlines)
    streams: Streams = field(default_factory=Streams)
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def outlined(self, *, saga_nos: Sequence[int] = (), ids: Sequence[str] = ()) -> list[Outlined]:
        """What a list draws of these sagas."""
        return await self.outlined_by(self.outlines.read(saga_nos=saga_nos, ids=ids))

    async def outlined_by(self, steps: Steps[_T]) -> _T:
        """Run a request that reads outlines, one after the other: their stories must not run ahead of their rows."""
        async with self._reading:
            return await self.client.read_at_once(steps)


def service_clients(settings: Settings) -> dict[str, Client]:
    """A client for each database that AMENDS_API_SERVICE_DATABASES names. Raises DependencyError; shows no URL."""
    clients: dict[str, Client] = {}
    named = settings.api_service_databases.get_secret_value() if settings.api_service_databases else ""
    for number, part in enumerate(named.split(), 1):
        found = _SERVICE.fullmatch(part)
        if found is None:
            raise DependencyError(f"AMENDS_API_SERVICE_DATABASES, number {number}: it is NAME=postgresql://…")
        # Through validation, as every URL.
        url = Settings(database_url=found[2]).database_url
        clients[found[1]] = Client(settings.model_copy(update={"database_url": url}))
    return clients


def access_of(request: Request) -> Access:
    return cast("Access", request.app.state.access)


def caller_of(request: Request) -> Caller:
    """Put there by the guard."""
    return cast("Caller", request.scope[CALLER])


def json_only(request: Request) -> None:
    """For what changes something: a form of a foreign page can't send JSON."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415)


def _decoded(part: str) -> str:
    """The path comes as it was sent (`guard.raw_path`), so that an id may hold a slash."""
    try:
        return checked_name("this part of the path", unquote(part, errors="strict"))
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8, percent-encoded") from None
    except RequestError as error:
        raise ValueError(str(error)) from None


HasAccess = Annotated[Access, Depends(access_of)]
HasCaller = Annotated[Caller, Depends(caller_of)]
JsonOnly = Depends(json_only)
# What the document says of a part of a path is of its decoded text; `_decoded` looks after it.
_OF_TEXT: dict[str, Any] = {"minLength": 1, "maxLength": limits.NAME_CHARS_MAX, "pattern": models.NAME}
SagaId = Annotated[
    str,
    AfterValidator(_decoded),
    Path(
        description="The saga's id, percent-encoded: `/` in it is `%2F`.",
        examples=["order-7"],
        json_schema_extra=_OF_TEXT,
    ),
]
Key = Annotated[
    str,
    AfterValidator(_decoded),
    Path(description="Percent-encoded.", examples=["step"], json_schema_extra=_OF_TEXT),
]

assert limits.SAGA_ID_CHARS_MAX == limits.NAME_CHARS_MAX
