"""Hears from the payment provider what became of a payment, and tells the saga that waits for it.

    WEBHOOK_SECRET=… DATABASE_URL=<the payment service's> python -m services.delivery.webhook --port 8080

It belongs to the payment service and shares its database, so that one transaction holds all of it: the event is
remembered, and the message for the saga stands in the outbox. Only then it says 2xx. Whoever dies before that has heard
nothing, and the provider says it again; whoever dies after it is asked again, finds the event, and says 2xx.

It decides nothing about the order. A message that comes before the saga waits is kept for it; one that comes after it
has given up changes nothing, for by then the saga has closed the payment at the provider.
"""

import argparse
import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Annotated

import uvicorn
from psycopg import Error as PostgresError
from pydantic import BaseModel, StringConstraints, ValidationError
from sqlalchemy import make_url
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from orchestrator import Client, Message
from services.contracts import PaymentRefused, PaymentSettled
from services.delivery.signature import SIGNATURE_HEADER, WEBHOOK_PATH, Bad, check
from services.payments import PaymentRequest, ProviderEvent

HOST = "127.0.0.1"
BODY_BYTES_MAX = 64 * 1024  # the provider's events have some hundred bytes
BODY_PATIENCE_S = 5.0  # who sends a byte a second would hold one of these for hours:
REQUESTS_MAX = 64  # at once; who comes then is told 503, and comes again
CONNECTIONS_MAX = 8

Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,64}$")]


class Payment(BaseModel):
    """What we read of it; the provider may add fields."""

    id: Id
    amount: Decimal


class Told(BaseModel):
    """One event of the provider. `id` is the same each time that it is sent."""

    id: Id
    type: str
    payment: Payment


def message_of(told: Told) -> Message | None:
    """What the saga is told; None: nothing, since we asked for it ourselves (cancelled, refunded)."""
    match told.type:
        case "payment.paid":
            return PaymentSettled(payment_id=told.payment.id, amount=told.payment.amount)
        case "payment.refused":
            return PaymentRefused(payment_id=told.payment.id, reason="the customer's card did not pay")
        case "payment.disputed":
            return PaymentRefused(payment_id=told.payment.id, reason="the card's bank disputes it")
        case _:
            return None


class Webhook:
    """The endpoint. `secret` is the one that the provider was given."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession], client: Client, secret: str) -> None:
        self._sessions = sessions
        self._client = client
        self._secret = secret

    async def hear(self, request: Request) -> Response:
        """Check it, keep it, say that it was heard. Whatever is not a 2xx comes again, or was never the provider's."""
        try:
            async with asyncio.timeout(BODY_PATIENCE_S):
                body = await body_of(request)
        except TimeoutError:
            return problem(408, f"the body did not come within {BODY_PATIENCE_S:g} s")
        if body is None:
            return problem(413, f"the body has more than {BODY_BYTES_MAX:,} bytes")
        match check(self._secret, request.headers.get(SIGNATURE_HEADER), body):
            case Bad(why):
                return problem(401, why)
        try:
            told = Told.model_validate_json(body)
        except ValidationError as error:
            return problem(
                422, f"this is no event of a payment: {error.errors(include_input=False, include_url=False)}"
            )
        try:
            return await self._keep(told)
        except (SQLAlchemyError, PostgresError) as error:
            return problem(503, f"it could not be written down: {type(error).__name__}; nothing was; send it again")

    async def _keep(self, told: Told) -> Response:
        async with self._sessions.begin() as session:
            payment = await session.get(PaymentRequest, told.payment.id)
            if payment is None:
                # Never ours; or so fast that our own row of it is not committed yet. The next attempt will show which.
                return problem(404, f"we have asked for no payment {told.payment.id}, or not yet")
            if not await is_new(session, told):
                return JSONResponse({"heard": "before"})
            message = message_of(told)
            if message is not None:
                await self._client.send(payment.saga_id, message, message_id=told.id, connection=session)
        return JSONResponse({"heard": "now"})


async def is_new(session: AsyncSession, told: Told) -> bool:
    """Write the event down. Two copies at once wait for each other here, and the second finds the first."""
    statement = insert(ProviderEvent).values(event_id=told.id, payment_id=told.payment.id, type=told.type)
    written = await session.scalar(statement.on_conflict_do_nothing().returning(ProviderEvent.event_id))
    return written is not None


async def body_of(request: Request) -> bytes | None:
    """The body, byte for byte as it was signed; None if it is too large, of which no more is read."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > BODY_BYTES_MAX:
            return None
    return body


def problem(status: int, detail: str) -> JSONResponse:
    """A clear no, in the form of RFC 9457."""
    body = {"type": "about:blank", "status": status, "detail": detail}
    headers = {"Retry-After": "1"} if status == 503 else None
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def application(database_url: str, secret: str) -> Starlette:
    """The ASGI application, with its own connections to the payment service's database."""
    if not secret:
        raise SystemExit("WEBHOOK_SECRET is empty: set it to the secret that the provider signs with")
    url = make_url(database_url).set(drivername="postgresql+psycopg")
    engine = create_async_engine(url, pool_size=CONNECTIONS_MAX, max_overflow=0, pool_pre_ping=True)
    client = Client()
    webhook = Webhook(async_sessionmaker(engine), client, secret)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
        async with client:
            yield
        await engine.dispose()

    return Starlette(routes=[Route(WEBHOOK_PATH, webhook.hear, methods=["POST"])], lifespan=lifespan)


def main() -> None:
    """Serve on the loopback interface until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m services.delivery.webhook", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    app = application(os.environ["DATABASE_URL"], os.environ.get("WEBHOOK_SECRET", ""))
    uvicorn.run(app, host=HOST, port=port, log_level="warning", limit_concurrency=REQUESTS_MAX)


if __name__ == "__main__":
    main()
