"""/v1/events: sagas as they move, as server-sent events (WHATWG HTML, 9.2).

`id` is a place to go on at: a browser brings the latest as Last-Event-ID when it connects again. It comes with the last
event of some news only, so that nobody goes on behind something that he has not got.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from orchestrator.api import limits as api_limits
from orchestrator.api import models, telling
from orchestrator.api.access import Access, HasAccess, HasCaller, SagaId
from orchestrator.api.documented import Responses, refusals
from orchestrator.api.guard import STREAM_TYPE
from orchestrator.api.sagas import OF_ALL, OF_ONE
from orchestrator.client import requests, watching
from orchestrator.client.outlines import AT_ONCE_MAX
from orchestrator.client.watching import Cursor, News
from orchestrator.errors import AmendsError, SagaNotFound

log = logging.getLogger("orchestrator.api")

router = APIRouter(prefix="/v1", tags=["events"])

_STREAM: Responses = {
    200: {
        "description": "Events `open` (Opened), `saga` (Outline), `takeover` (Takeover) and `reset` (Reset), as JSON.",
        "content": {STREAM_TYPE: {"schema": {"type": "string"}}},
    }
}
LastEventId = Annotated[str | None, Header(max_length=100, description="The `id` that came last: it goes on there.")]


@router.get("/events", operation_id="watch_sagas", response_class=StreamingResponse,
            responses={**_STREAM, **refusals(*OF_ALL)})  # fmt: skip
async def watch_sagas(
    access: HasAccess,
    caller: HasCaller,
    type: Annotated[list[str] | None, Query(max_length=20, description="Of this type; again for each.")] = None,
    last_event_id: LastEventId = None,
) -> StreamingResponse:
    """All sagas as they move, at most four times a second, each as it is then."""
    return _response(Stream(access, caller.name, _place(last_event_id), types=frozenset(type or ())))


@router.get("/sagas/{id}/events", operation_id="watch_saga", response_class=StreamingResponse,
            responses={**_STREAM, **refusals(*OF_ONE)})  # fmt: skip
async def watch_saga(
    access: HasAccess, caller: HasCaller, id: SagaId, last_event_id: LastEventId = None
) -> StreamingResponse:
    """One saga: first as it is, then as it moves. Takeovers are told of all shards."""
    found = await access.outlined(ids=[id])
    if not found:
        raise SagaNotFound(requests.not_found(id))
    return _response(Stream(access, caller.name, _place(last_event_id), only=found[0].saga_no))


@dataclass(frozen=True, slots=True)
class Stream:
    """What somebody watches. `only`: one saga, by its number."""

    access: Access
    caller: str
    begins: Cursor | None
    types: frozenset[str] = frozenset()
    only: int | None = None

    async def frames(self) -> AsyncIterator[str]:
        """Until the client closes it, or the fan-out ends."""
        yield f"retry: {api_limits.STREAM_RETRY_MS}\n\n"
        with self.access.streams.place(self.caller):
            async with self.access.client.fan_out().subscribed(self.begins) as subscription:
                while True:
                    try:
                        news = await asyncio.wait_for(subscription.news(), api_limits.STREAM_BEAT_S)
                    except TimeoutError:
                        yield ":\n\n"
                        continue
                    except AmendsError as error:
                        log.warning("a stream ends: %s", error)
                        return
                    async for frame in self._told(news):
                        yield frame
                    yield f"id: {subscription.cursor}\n\n"

    async def _told(self, news: News) -> AsyncIterator[str]:
        if news.missed:
            self.access.outlines.forget()
            yield _frame("reset", models.Reset(why=news.missed))
        if news.opened:
            yield _frame("open", models.Opened())
        for taken in news.takeovers:
            yield _frame("takeover", telling.takeover_of(taken))
        saga_nos = self._chosen(news)
        for first in range(0, len(saga_nos), AT_ONCE_MAX):
            for one in await self.access.outlined(saga_nos=saga_nos[first : first + AT_ONCE_MAX]):
                if not self.types or one.saga.type in self.types:
                    yield _frame("saga", telling.outline_of(one))

    def _chosen(self, news: News) -> Sequence[int]:
        if self.only is None:
            return news.saga_nos
        return (self.only,) if news.opened or self.only in news.saga_nos else ()


def _response(stream: Stream) -> StreamingResponse:
    stream.access.streams.look_for_place(stream.caller)
    # Proxies must not keep what comes back until there is more of it.
    return StreamingResponse(stream.frames(), media_type=STREAM_TYPE, headers={"X-Accel-Buffering": "no"})


def _place(last_event_id: str | None) -> Cursor | None:
    return watching.parse_cursor(last_event_id) if last_event_id else None


def _frame(event: str, data: BaseModel) -> str:
    return f"event: {event}\ndata: {data.model_dump_json()}\n\n"
