"""The direct charge, once: each protection that it may have is an argument, so that all runs share this code.

    amends participant services.rm45.payments:with_key_and_breaker

A service of yours would write the last one, and add what it does about the lookup (`services/payments.py` has it all).
"""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

import httpx

from orchestrator import Breaker, Handling, Participant, Transient
from services.rm45.contracts import Charged, ChargeDirectly

ANSWER_TIMEOUT_S = 3.0  # The gateway promises an answer within a second.
CALLS_MAX = 16
SERVICE_UNAVAILABLE = 503


@dataclass(frozen=True, slots=True)
class Deps:
    gateway: httpx.AsyncClient


@asynccontextmanager
async def open_gateway() -> AsyncGenerator[Deps]:
    """The connection pool to the gateway, for the life of the process. GATEWAY_URL says where it is."""
    limits = httpx.Limits(max_connections=CALLS_MAX)
    async with httpx.AsyncClient(
        base_url=os.environ["GATEWAY_URL"], timeout=ANSWER_TIMEOUT_S, limits=limits
    ) as gateway:
        yield Deps(gateway)


async def find(cmd: ChargeDirectly, ctx: Handling[Deps]) -> Charged | None:
    """Was it charged? The gateway knows by our order's number, which needs no key."""
    try:
        answer = await ctx.deps.gateway.get("/charges", params={"order_id": cmd.order_id})
        found = answer.raise_for_status().json()
    except httpx.HTTPError as error:
        raise Transient(f"the gateway can't be asked about {cmd.order_id}: {error!r}") from error
    return Charged(charge_id=found[0]["id"]) if found else None


def charging(*, key: bool = False, lookup: bool = False, breaker: Breaker | None = None) -> Participant[Deps]:
    """The payment service with these protections and no other."""
    payments = Participant("payments", lifespan=open_gateway)

    @payments.handles(
        ChargeDirectly,
        effect="external",
        lookup=find if lookup else None,
        breaker=breaker,
        timeout_s=ANSWER_TIMEOUT_S + 1,
        concurrency=CALLS_MAX,
    )
    async def charge(cmd: ChargeDirectly, ctx: Handling[Deps]) -> Charged:
        # `ctx.key` is the same for every attempt; a caller who has never heard of keys makes a new request each time.
        idempotency_key = ctx.key if key else f"request-{uuid4().hex}"
        answer = await ctx.deps.gateway.post(
            "/charges",
            json={"order_id": cmd.order_id, "card": cmd.card, "amount": str(cmd.amount)},
            headers={"Idempotency-Key": idempotency_key},
        )
        if answer.status_code == SERVICE_UNAVAILABLE:
            raise Transient("the gateway turned us away before it booked anything")
        return Charged(charge_id=answer.raise_for_status().json()["id"])

    return payments


without_protection = charging()
with_key = charging(key=True)
with_lookup = charging(lookup=True)
with_key_and_breaker = charging(key=True, breaker=Breaker("gateway", fail_max=5, reset_timeout_s=2.0))
