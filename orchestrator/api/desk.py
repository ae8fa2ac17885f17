"""The stuck desk: what a person must know, the verbs, and the audit of those that were given."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query

from orchestrator.api import limits, models, telling
from orchestrator.api.access import HasAccess, HasCaller, JsonOnly, SagaId
from orchestrator.api.documented import refusals
from orchestrator.api.sagas import OF_ALL, OF_ONE, OF_WRITES
from orchestrator.client import facts, reading, requests
from orchestrator.client.answers import VerbRow
from orchestrator.client.facts import Told
from orchestrator.client.requests import Steps

router = APIRouter(prefix="/v1", tags=["desk"])


@router.get("/sagas/{id}/desk", operation_id="get_desk", responses=refusals(*OF_ONE))
async def get_desk(access: HasAccess, id: SagaId) -> models.Desk:
    """Why a saga waits, what stands, what was taken back, and what each verb would do and leave."""
    told, verbs = await access.client.read_at_once(_told_with_verbs(id))
    return telling.desk(told, verbs)


@router.get("/sagas/{id}/verbs", operation_id="list_verbs", responses=refusals(*OF_ALL))
async def list_verbs(access: HasAccess, id: SagaId) -> models.Audit:
    """Who told the saga what, when and why, and what came of it."""
    rows = await access.client.request(reading.verbs(id))
    return models.Audit(verbs=[telling.verb_of(row) for row in rows])


@router.post(
    "/sagas/{id}/verbs",
    operation_id="give_verb",
    status_code=202,
    dependencies=[JsonOnly],
    responses=refusals(*OF_WRITES, 404, 409),
)
async def give_verb(access: HasAccess, caller: HasCaller, id: SagaId, give: models.Give) -> models.Accepted:
    """Give a verb. It is carried out by whoever owns the saga; what came of it stands at /v1/verbs/{verb_no}."""
    steps = requests.give_verb(id, give.verb, give.note, token=caller.name)
    return models.Accepted(verb_no=await access.client.request(steps))


@router.get("/verbs", operation_id="list_all_verbs", responses=refusals(*OF_ALL))
async def list_all_verbs(
    access: HasAccess,
    before: Annotated[int | None, Query(ge=1, le=models.BIGINT_MAX, description="`next_before` of a page.")] = None,
    limit: Annotated[int, Query(ge=1, le=limits.VERBS_MAX)] = limits.VERBS_DEFAULT,
) -> models.AuditPage:
    """Who told which saga what, when and why, and what came of it."""
    rows, next_before = await access.client.request(reading.verbs_given(before, limit))
    return models.AuditPage(verbs=[telling.verb_of(row) for row in rows], next_before=next_before)


@router.get("/verbs/{verb_no}", operation_id="get_verb", responses=refusals(*OF_ONE))
async def get_verb(access: HasAccess, verb_no: models.VerbNo) -> models.GivenVerb:
    """A verb that was given, and what came of it so far."""
    return telling.verb_of(await access.client.request(reading.verb(verb_no)))


def _told_with_verbs(saga_id: str) -> Steps[tuple[Told, Sequence[VerbRow]]]:
    told = yield from facts.told(saga_id)
    verbs = yield from reading.verbs(saga_id)
    return told, verbs
