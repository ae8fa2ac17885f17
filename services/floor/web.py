"""The routes under /floor. What they do they do at once: it is a toy shop."""

import logging
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import httpx
import psycopg
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from orchestrator import AmendsError
from orchestrator.local.control import NotDone
from services.floor import limits
from services.floor.customers import Answer, Customers, Manner
from services.floor.heard import Heard
from services.floor.installation import MODES, Installation
from services.floor.listeners import Listeners, stream
from services.floor.picture import Picture
from services.floor.placing import OrderStream, Placing, Trouble, Type, Wish
from services.floor.plugs import Action, Plugs
from services.floor.problems import MEDIA_TYPE, Problem, Refusal
from services.floor.watch import Watch

log = logging.getLogger("services.floor")

router = APIRouter()
Name = Annotated[str, Field(min_length=1, max_length=limits.NAME_CHARS_MAX)]
OrderId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,100}$")]
Mode = Literal["well", "slow", "down", "loses"]
# By name: what is only known as an Exception is answered, and then ends its connection.
EXPECTED = (HTTPException, RequestValidationError, Refusal, AmendsError, psycopg.Error, sqlite3.Error)
RETRY_AFTER = {"retry-after": "1"}
AWAY = "A database is not to be reached now. Whether it was done is not known: look before it is repeated."


@dataclass(frozen=True, slots=True)
class Floor:
    """What the routes have at hand."""

    picture: Picture
    listeners: Listeners
    watch: Watch
    plugs: Plugs
    installation: Installation
    placing: Placing
    orders: OrderStream
    customers: Customers
    heard: Heard


class Asked(BaseModel):
    """A body: nothing in it that is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Dish(Asked):
    sku: Name
    quantity: int = Field(ge=1, le=limits.QUANTITY_MAX)


class AskedOrder(Asked):
    customer: Name | None = None
    card: Name | None = None
    dishes: list[Dish] = Field(default=[], max_length=limits.DISHES_MAX)
    address: Name | None = None
    trouble: Trouble = "none"
    type: Type = "delivery"


class AskedStream(Asked):
    per_s: float = Field(ge=0, le=limits.PER_S_MAX)
    answer: Manner = "mixed"


class AskedAnswer(Asked):
    answer: Answer


class AskedAction(Asked):
    action: Action


class AskedMode(Asked):
    mode: Mode


class Placed(BaseModel):
    order_id: str
    saga_id: str


class Done(BaseModel):
    """As it is from now on, or soon."""

    name: str
    now: str


def floor_of(request: Request) -> Floor:
    found: Floor = request.app.state.floor
    return found


@router.get("/health")
async def health() -> Done:
    """Whether the floor answers; the keeper asks."""
    return Done(name="floor", now="up")


@router.get("/events")
async def events(request: Request) -> StreamingResponse:
    """Server-sent events: `all`, then what changes. There is no cursor: whoever comes again gets `all` again."""
    floor = floor_of(request)
    if floor.listeners.are_many:
        raise HTTPException(503, f"{limits.STREAMS_MAX} pages listen already; close one.", {"retry-after": "5"})
    return StreamingResponse(_sent(floor), media_type="text/event-stream")


async def _sent(floor: Floor) -> AsyncIterator[bytes]:
    with floor.listeners.one_more() as listener:
        await floor.watch.catch_up()
        async for frame in stream(listener, floor.picture):
            yield frame


@router.post("/orders", status_code=201)
async def place(request: Request, asked: AskedOrder) -> Placed:
    """Place an order."""
    dishes = [(dish.sku, dish.quantity) for dish in asked.dishes]
    wish = Wish(asked.type, asked.customer, asked.card, dishes, asked.address, asked.trouble)
    order_id = await floor_of(request).placing.place(wish)
    return Placed(order_id=order_id, saga_id=order_id)


@router.post("/orders/{order_id}/answer")
async def answer(request: Request, order_id: OrderId, asked: AskedAnswer) -> Done:
    """Do it at the provider, as the customer would; the saga hears of it by a webhook."""
    state = await floor_of(request).customers.answer(order_id, asked.answer)
    return Done(name=order_id, now=state)


@router.post("/stream")
async def set_stream(request: Request, asked: AskedStream) -> Done:
    """Place so many orders a second from now on; 0 ends it."""
    floor_of(request).orders.set(asked.per_s, asked.answer)
    return Done(name="stream", now=f"{asked.per_s:g}")


@router.post("/plugs/{name}", status_code=202)
async def pull(request: Request, name: str, asked: AskedAction) -> Done:
    """Kill, stop or start a process; what came of it comes with the events."""
    floor = floor_of(request)
    await floor.plugs.pull(name, asked.action)
    await floor.watch.read_states()
    return Done(name=name, now=floor.picture.plugs.get(name, {}).get("state", "unknown"))


@router.post("/gateway")
async def set_mode(request: Request, asked: AskedMode) -> Done:
    """How the gateway behaves from now on."""
    floor = floor_of(request)
    try:
        await floor.installation.set_gateway_mode(asked.mode)
    except httpx.HTTPError as error:
        raise HTTPException(
            503, f"The gateway's admin side does not answer ({error!r}). Nothing was changed."
        ) from None
    await floor.watch.read_states()
    return Done(name="gateway", now=asked.mode)


@router.get("/analytics")
async def analytics(request: Request) -> Mapping[str, Any]:
    """What the analytics service counted; it hears events, and may be behind."""
    return await floor_of(request).heard.sums()


@router.get("/mail")
async def mail(request: Request, order_id: OrderId | None = None) -> Sequence[Mapping[str, Any]]:
    """What the mail server was given, the newest first."""
    return await floor_of(request).heard.mails(order_id or "")


@router.get("/receipts/{order_id}.pdf")
async def receipt(request: Request, order_id: OrderId) -> Response:
    """The receipt of a paid order, once the job that makes it has run."""
    pdf = await floor_of(request).heard.receipt(order_id)
    if pdf is None:
        raise HTTPException(404, f"There is no receipt of {order_id}, or not yet: it is made when the order is paid.")
    return Response(pdf, media_type="application/pdf", headers={"content-disposition": "inline"})


def routes(floor: Floor) -> FastAPI:
    """An ASGI app of the routes; whoever serves it puts the door before it."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.floor = floor
    app.include_router(router)
    for kind in (Exception, *EXPECTED):
        app.add_exception_handler(kind, _failed)
    return app


async def _failed(request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    if problem.status == 500:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return Response(problem.body(request.url.path), problem.status, dict(problem.headers), MEDIA_TYPE)


def problem_of(error: Exception) -> Problem:
    """The one table of errors."""
    match error:
        case RequestValidationError():
            found = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            return Problem(422, "invalid", f"{found}. Nothing was changed.")
        case HTTPException():
            return Problem(
                error.status_code, _NAMES.get(error.status_code, "refused"), error.detail, error.headers or {}
            )
        case Refusal():
            return Problem(error.status, error.name, str(error), RETRY_AFTER if error.status == 503 else {})
        case NotDone():
            return Problem(409, "not-done", str(error))
        case psycopg.OperationalError() | sqlite3.OperationalError():
            return Problem(503, "unavailable", AWAY, RETRY_AFTER)
        case AmendsError():
            return Problem(503, "unavailable", f"{error}. Nothing was changed.", RETRY_AFTER)
    return Problem(500, "bug", "A bug of the floor; its log says more. What was asked may have been done.")


_NAMES = {404: "not-found", 405: "not-allowed", 408: "too-slow", 409: "not-now", 413: "too-large", 503: "unavailable"}

assert set(MODES) == {"well", "slow", "down", "loses"}
