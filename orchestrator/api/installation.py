"""What stands around the sagas: orchestrators, shards, the outbox, breakers, who asks, and whether the API is well."""

from typing import Annotated

from fastapi import APIRouter, Query

from orchestrator.api import installation_models, limits, models, telling
from orchestrator.api.access import HasAccess, HasCaller
from orchestrator.api.documented import refusals
from orchestrator.api.sagas import OF_ALL
from orchestrator.client import Client, facts, reading
from orchestrator.errors import AmendsError

router = APIRouter(prefix="/v1", tags=["installation"])
# Without a token, for probes.
health_router = APIRouter(prefix="/v1", tags=["installation"])

NONE_KNOWN = "No database of a service is known: breakers live there. Name them in AMENDS_API_SERVICE_DATABASES."
SOME_KNOWN = "Of the databases in AMENDS_API_SERVICE_DATABASES; other services may have breakers, too."


@router.get("/caller", operation_id="get_caller", responses=refusals(*OF_ALL))
async def get_caller(caller: HasCaller) -> installation_models.Caller:
    """Whose token came with the request, and what it may do."""
    return installation_models.Caller(name=caller.name, role=caller.role)


@router.get("/outbox", operation_id="get_outbox", responses=refusals(*OF_ALL))
async def get_outbox(
    access: HasAccess,
    after: Annotated[int, Query(ge=0, le=models.BIGINT_MAX, description="Dead rows with a greater seq.")] = 0,
) -> installation_models.Outbox:
    """What waits in the outbox of this database, and what Kafka did not take."""
    found = await access.client.read_at_once(facts.outbox(after, limits.DEAD_ROWS_MAX + 1))
    return telling.outbox_of(found, limits.DEAD_ROWS_MAX)


@router.get("/breakers", operation_id="list_breakers", responses=refusals(*OF_ALL))
async def list_breakers(access: HasAccess) -> installation_models.Breakers:
    """The circuit breakers of the services whose databases the API was given."""
    services = [await _service(name, client) for name, client in access.services.items()]
    return installation_models.Breakers(services=services, note=SOME_KNOWN if services else NONE_KNOWN)


@router.get("/workers", operation_id="list_workers", responses=refusals(*OF_ALL))
async def list_workers(access: HasAccess) -> installation_models.Workers:
    """The orchestrators."""
    return installation_models.Workers(
        workers=[telling.worker_of(row) for row in await access.client.request(facts.workers())]
    )


@router.get("/shards", operation_id="list_shards", responses=refusals(*OF_ALL))
async def list_shards(access: HasAccess) -> installation_models.Shards:
    """Which orchestrator owns which slice of the sagas."""
    return installation_models.Shards(
        shards=[telling.shard_of(row) for row in await access.client.request(facts.shards())]
    )


@health_router.get("/health", operation_id="get_health", responses=refusals(401, 403, 429, 500, 503, 504))
async def get_health(access: HasAccess) -> installation_models.Health:
    """Whether the API and its database answer. It needs no token."""
    await access.client.request(reading.answers())
    return installation_models.Health(status="ok")


async def _service(name: str, client: Client) -> installation_models.Service:
    """One that is away must not hide the others."""
    try:
        rows = await client.request(facts.breakers())
    except AmendsError as error:
        return installation_models.Service(name=name, breakers=[], error=str(error))
    return installation_models.Service(name=name, breakers=[telling.breaker_of(row) for row in rows], error=None)
