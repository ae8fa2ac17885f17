"""/v1/sagas: list, start, look, send."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from orchestrator import limits
from orchestrator.api import limits as api_limits
from orchestrator.api import models, telling
from orchestrator.api.access import Access, HasAccess, JsonOnly, Key, SagaId
from orchestrator.api.documented import refusals
from orchestrator.canonical import canonical_json
from orchestrator.client import facts, listing, reading, requests
from orchestrator.client.answers import Status
from orchestrator.client.by_name import encoded_by_name, input_by_code
from orchestrator.client.listing import AGE_S_MAX
from orchestrator.client.outlines import AT_ONCE_MAX, Outlined
from orchestrator.client.requests import Steps
from orchestrator.errors import SagaNotFound
from orchestrator.messaging import framing

router = APIRouter(prefix="/v1", tags=["sagas"])

OF_ALL = (401, 403, 422, 429, 500, 503, 504)
OF_ONE = (401, 403, 404, 422, 429, 500, 503, 504)
OF_WRITES = (400, 401, 403, 413, 415, 422, 429, 500, 503, 504)


OfStatus = Annotated[list[Status] | None, Query(description="Of this status; again for each.")]
OfType = Annotated[str | None, Query(min_length=1, max_length=limits.NAME_CHARS_MAX, pattern=models.NAME)]
Contains = Annotated[
    str, Query(max_length=limits.NAME_CHARS_MAX, pattern=models.NAME, description="In the id, letter by letter.")
]
OlderThan = Annotated[float | None, Query(ge=0, le=AGE_S_MAX, description="Begun at least so long ago.")]
FromCursor = Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before.")]


@router.get("/sagas", operation_id="list_sagas", responses=refusals(*OF_ALL))
async def list_sagas(
    access: HasAccess,
    status: OfStatus = None,
    type: OfType = None,
    contains: Contains = "",
    older_than_s: OlderThan = None,
    cursor: FromCursor = None,
    limit: Annotated[int, Query(ge=1, le=limits.LISTED_MAX)] = limits.LISTED_DEFAULT,
) -> models.SagaList:
    """The newest first, a page at a time. New sagas move nothing: none is told twice or left out."""
    page = await access.client.list(
        status=status, type=type, contains=contains, older_than=older_than_s, cursor=cursor, rows_max=limit
    )
    return models.SagaList.model_validate({"sagas": list(page.sagas), "next_cursor": page.next_cursor})


@router.get("/outlines", operation_id="list_outlines", responses=refusals(*OF_ALL))
async def list_outlines(
    access: HasAccess,
    status: OfStatus = None,
    type: OfType = None,
    contains: Contains = "",
    older_than_s: OlderThan = None,
    cursor: FromCursor = None,
    limit: Annotated[int, Query(ge=1, le=AT_ONCE_MAX)] = api_limits.OUTLINES_DEFAULT,
) -> models.Outlines:
    """As the list of sagas, each with what it did and waits for. The page and what it says are of one instant."""

    def steps() -> Steps[tuple[list[Outlined], str | None]]:
        page = yield from listing.page(
            status=status, type=type, contains=contains, older_than=older_than_s, cursor=cursor, rows_max=limit
        )
        found = yield from access.outlines.read(ids=[saga.id for saga in page.sagas])
        return found, page.next_cursor

    found, next_cursor = await access.outlined_by(steps())
    return models.Outlines(outlines=[telling.outline_of(one) for one in found], next_cursor=next_cursor)


@router.get("/sagas/{id}/outline", operation_id="get_outline", responses=refusals(*OF_ONE))
async def get_outline(access: HasAccess, id: SagaId) -> models.Outline:
    """One saga as the list of outlines has it."""
    found = await access.outlined(ids=[id])
    if not found:
        raise SagaNotFound(requests.not_found(id))
    return telling.outline_of(found[0])


@router.put(
    "/sagas/{id}",
    operation_id="start_saga",
    status_code=201,
    dependencies=[JsonOnly],
    responses={
        200: {"model": models.Started, "description": "It was there already, with the same input."},
        202: {"model": models.Started, "description": "It is on its way: this database holds no sagas."},
        **refusals(*OF_WRITES, 409),
    },
)
async def start_saga(access: HasAccess, id: SagaId, start: models.Start, response: Response) -> models.Started:
    """Start a saga under an id of yours. Repeat it as often as you like: it begins once."""
    version, text = await asyncio.to_thread(_input, access, start)
    prefix = access.settings.topic_prefix
    started = await access.client.request(requests.start_latest(start.type, version, text, id, prefix))
    response.status_code = {True: 201, False: 200, None: 202}[started.created]
    return models.Started.model_validate(started)


@router.get("/sagas/{id}", operation_id="get_saga", responses=refusals(*OF_ONE))
async def get_saga(access: HasAccess, id: SagaId) -> models.Saga:
    """One saga: what it did, what it waits for, who took it over. All read at one instant."""
    return telling.saga_of(await access.client.read_at_once(facts.told(id)))


@router.get("/sagas/{id}/journal", operation_id="get_journal", responses=refusals(*OF_ONE))
async def get_journal(
    access: HasAccess,
    id: SagaId,
    from_pos: Annotated[int, Query(ge=0, le=models.INT_MAX)] = 0,
    limit: Annotated[int, Query(ge=1, le=api_limits.JOURNAL_TURNS_MAX)] = api_limits.JOURNAL_TURNS_DEFAULT,
) -> models.Journal:
    """What came in and what was decided, turn by turn."""
    steps = reading.journal_page(id, from_pos, limit, api_limits.JOURNAL_BYTES_MAX)
    turns, next_pos = await access.client.read_at_once(steps)
    return models.Journal(turns=[models.Turn.model_validate(turn) for turn in turns], next_pos=next_pos)


@router.get("/sagas/{id}/trace", operation_id="get_trace", responses=refusals(*OF_ONE))
async def get_trace(access: HasAccess, id: SagaId) -> models.Trace:
    """Every attempt with its times and its outcome, and under which process it was made."""
    return telling.trace_of(await access.client.read_at_once(facts.told(id)))


@router.get("/sagas/{id}/values/{key}", operation_id="get_value", responses=refusals(*OF_ONE))
async def get_value(
    access: HasAccess,
    id: SagaId,
    key: Key,
) -> models.Value:
    """What the saga last `set` under this key; null if it never did."""
    text = await access.client.request(requests.get(id, key))
    return models.Value(key=key, value=None if text is None else requests.adapter(Any).validate_json(text))


@router.post(
    "/sagas/{id}/messages",
    operation_id="send_message",
    status_code=202,
    dependencies=[JsonOnly],
    responses=refusals(*OF_WRITES),
)
async def send_message(access: HasAccess, id: SagaId, send: models.Send) -> models.Sent:
    """Send a message to a saga. It is kept if it comes before its saga."""
    payload = await asyncio.to_thread(encoded_by_name, send.type, send.body, access.settings)
    prefix = access.settings.topic_prefix
    steps = requests.send_encoded(id, send.type, payload, send.channel, send.message_id, prefix)
    await access.client.request(steps)
    return models.Sent(id=id, type=send.type, channel=send.channel)


def _input(access: Access, start: models.Start) -> tuple[int | None, str]:
    """The version and the input, checked by the code where it is at hand. Blocks: the registry may be asked."""
    framing.prepare(access.settings, [])
    if access.app is not None and any(saga.name == start.type for saga in access.app.sagas):
        return input_by_code(access.app.sagas, "the app", start.type, start.version, start.input)
    return start.version, canonical_json(start.input)
