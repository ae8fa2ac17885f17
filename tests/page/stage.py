"""A stage: the page's own files behind the floor's own door, and a recorded shop in place of the installation.

For states of the page that a real stack shows only for a moment. What people do is tested on a real stack
(test_journeys.py).
"""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

import services.floor
from services.floor.door import Door
from tests.deadlines import eventually
from tests.page.recorded import Json, Shop, every_state, iso

STATIC = Path(services.floor.__file__).parent / "static"
PLUGS = (
    ("orchestrator-1", "Orchestrator 1", "runs 4 of 8 shards"),
    ("orchestrator-2", "Orchestrator 2", "runs 4 of 8 shards"),
    ("stock", "Stock", ""),
    ("payments", "Payments", ""),
    ("relay", "Relay", "0 waiting"),
    ("kafka", "Kafka", ""),
)
BREAKER = {
    "name": "gateway",
    "state": "closed",
    "window": [*["ok"] * 8, "unknown", "failed", "ok"],
    "failed": 0,
    "fail_max": 5,
    "opens_at": None,
    "half_open_at": None,
}
PROBLEM = "application/problem+json"


@dataclass
class Stage:
    """What is behind the page, to be changed by a test. `asked`: the requests that would have changed something."""

    url: str = ""
    shop: Shop = field(default_factory=every_state)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    refusal: tuple[int, str] | None = None
    audit: list[Json] = field(default_factory=list)
    role: str = "operate"
    totals: Json = field(default_factory=dict)
    loop: asyncio.AbstractEventLoop | None = None
    listeners: dict[str, list["asyncio.Queue[bytes | None]"]] = field(
        default_factory=lambda: {"sagas": [], "floor": []}
    )

    def tell(self, stream: str, name: str, data: Any) -> None:
        """Send an event to every page that listens."""
        self._send(stream, _frame(name, data))

    def move(self, saga_id: str, **changes: Any) -> None:
        """A saga has made a turn."""
        outline = {**self.shop.sagas[saga_id], **changes}
        outline["turns"] += 1
        self.shop.sagas[saga_id] = outline
        self.tell("sagas", "saga", outline)

    def cut(self) -> None:
        """End the streams, as a server that goes away."""
        for stream in self.listeners:
            self._send(stream, None)

    def _send(self, stream: str, frame: bytes | None) -> None:
        assert self.loop is not None
        for queue in self.listeners[stream]:
            self.loop.call_soon_threadsafe(queue.put_nowait, frame)


@contextmanager
def staged() -> Iterator[Stage]:
    """Serve it until the end of the test."""
    stage = Stage()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stage.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(_application(stage), log_level="warning", timeout_graceful_shutdown=1))

        async def serve() -> None:
            stage.loop = asyncio.get_running_loop()
            await server.serve(sockets=[listener])

        thread = threading.Thread(target=asyncio.run, args=[serve()], daemon=True)
        thread.start()
        try:
            eventually(lambda: server.started, 10, "the stage is served")
            yield stage
        finally:
            server.should_exit = True
            stage.cut()
            thread.join(10)


def _application(stage: Stage) -> Starlette:
    def changing(answer: Any, status: int = 200) -> Any:
        async def route(request: Request) -> Response:
            stage.asked.append((request.url.path, await request.json()))
            if stage.refusal is not None:
                code, detail = stage.refusal
                return _problem(code, detail)
            return JSONResponse(answer, status)

        return route

    def one(tell: Callable[[Json], Any]) -> Any:
        async def route(request: Request) -> Response:
            outline = stage.shop.sagas.get(request.path_params["id"])
            return _problem(404, "There is no saga of this id.") if outline is None else JSONResponse(tell(outline))

        return route

    async def sagas_told(_: Request) -> Response:
        return _stream(stage, "sagas", _frame("open", {}))

    async def floor_told(_: Request) -> Response:
        return _stream(stage, "floor", _frame("all", _all(stage)))

    async def listed(request: Request) -> Response:
        return _outlines(stage, request)

    async def caller(_: Request) -> Response:
        return JSONResponse({"name": "local", "role": stage.role})

    async def all_verbs(_: Request) -> Response:
        return JSONResponse({"verbs": stage.audit, "next_before": None})

    async def verb(_: Request) -> Response:
        return JSONResponse({"verb_no": 1, "outcome": None})

    v1 = [
        Route("/caller", caller),
        Route("/events", sagas_told),
        Route("/outlines", listed),
        Route("/sagas/{id:path}/outline", one(lambda outline: outline)),
        Route("/sagas/{id:path}/trace", one(lambda outline: {"attempts": _attempts(outline)})),
        Route("/sagas/{id:path}/journal", one(_journal)),
        Route("/sagas/{id:path}/desk", one(_desk)),
        Route("/sagas/{id:path}/verbs", changing({"verb_no": 1}, 202), methods=["POST"]),
        Route("/verbs", all_verbs),
        Route("/verbs/{no}", verb),
    ]
    done = ("/orders/{id}/answer", "/stream", "/plugs/{name}", "/gateway")
    floor = [
        Route("/events", floor_told),
        Route("/orders", changing({"order_id": "order-2000", "saga_id": "order-2000"}, 201), methods=["POST"]),
        *[Route(path, changing({}), methods=["POST"]) for path in done],
    ]
    files = Door(StaticFiles(directory=STATIC, html=True))
    return Starlette(routes=[Mount("/amends/v1", routes=v1), Mount("/floor", routes=floor), Mount("/", files)])


def _stream(stage: Stage, name: str, first: bytes) -> Response:
    queue: asyncio.Queue[bytes | None] = asyncio.Queue()
    stage.listeners[name].append(queue)

    async def frames() -> AsyncIterator[bytes]:
        yield first
        try:
            while (frame := await queue.get()) is not None:
                yield frame
        finally:
            stage.listeners[name].remove(queue)

    return StreamingResponse(frames(), media_type="text/event-stream")


def _outlines(stage: Stage, request: Request) -> Response:
    wanted = request.query_params.getlist("status")
    rows = [one for one in stage.shop.sagas.values() if not wanted or one["status"] in wanted]
    rows.sort(key=lambda one: (one["started_at"], one["id"]), reverse=True)
    begin, limit = int(request.query_params.get("cursor", 0)), int(request.query_params["limit"])
    more = str(begin + limit) if begin + limit < len(rows) else None
    return JSONResponse({"outlines": rows[begin : begin + limit], "next_cursor": more})


def _attempts(outline: Json) -> list[Json]:
    """Each step takes a second; undos follow, newest first."""
    at = datetime.fromisoformat(outline["started_at"])
    told: list[Json] = []

    def tell(one: Json, undo_of: int | None, number: int, ended: str | None) -> None:
        nonlocal at
        begun, at = at, at + timedelta(seconds=1)
        to = None if ended is None else iso(at)
        who = {"op": one["name"], "seq": one["seq"], "undo_of": undo_of, "number": number, "worker": "w"}
        told.append({**who, "from": iso(begun), "to": to, "outcome": ended or "", "note": ""})

    for one in outline["ops"]:
        for number in range(1, one["attempts"]):
            tell(one, None, number, "retry")
        tell(one, None, one["attempts"], None if one["state"] == "open" else one["state"])
    for one in reversed(outline["ops"]):
        if one["undo"] is not None:
            state = one["undo"]["state"]
            tell(one, one["seq"], one["undo"]["attempts"], None if state == "open" else state)
    return told


def _journal(outline: Json) -> Json:
    at_us = int(datetime.fromisoformat(outline["started_at"]).timestamp() * 1_000_000)
    calls = [{"op": one["kind"], "seq": one["seq"], "name": one["name"]} for one in outline["ops"]]
    turns = [{"pos": 0, "body": [{"in": "started", "at": at_us}, *calls[:1]]}]
    for pos, one in enumerate(outline["ops"], 1):
        came = {"in": "replied", "seq": one["seq"], "outcome": one["state"], "at": at_us + pos * 1_000_000}
        turns.append({"pos": pos, "body": [came, *calls[pos : pos + 1]]})
    return {"turns": turns, "next_pos": None}


def _desk(outline: Json) -> Json:
    refused = [one for one in outline["ops"] if one["undo"] and one["undo"]["state"] == "failed"]
    standing = [one for one in outline["ops"] if one["kind"] == "call" and one["state"] == "succeeded"]
    asked = f"undo of call {refused[0]['name']}" if refused else f"call {outline['ops'][-1]['name']}"
    titles = [f"call {one['name']}" for one in standing]
    is_stuck = outline["status"] == "stuck"

    def preview(verb: str, does: str, left: list[str], *, fits: bool, note: bool = False) -> Json:
        why_not = "" if fits else "not now"
        return {"verb": verb, "fits": fits, "why_not": why_not, "does": does, "left": left, "needs_note": note}

    return {
        "id": outline["id"],
        "status": outline["status"],
        "since": outline["started_at"],
        "why": outline["error"],
        "phase": "undoing" if refused else "blocked" if outline["status"] == "blocked" else "forward",
        "standing": standing,
        "taken_back": [],
        "next": [asked],
        "audit": [],
        "verbs": [
            preview("retry", f"Tries again: {asked}.", [] if refused else titles, fits=is_stuck),
            preview("skip", f"Leaves it as it is: {asked}.", titles[2:3], fits=is_stuck, note=True),
            preview("fail", "It ends as failed.", titles, fits=is_stuck, note=True),
            preview("unblock", "Replays its journal with the code at hand.", titles, fits=not is_stuck),
        ],
    }


def _all(stage: Stage) -> Json:
    now = iso(datetime.now(UTC))
    plugs = [
        {"name": name, "label": label, "state": "up", "since": now, "note": note}
        | {"kind": "kafka" if name == "kafka" else "process"}
        for name, label, note in PLUGS
    ]
    return {
        "orders": [*stage.shop.books.values()],
        "totals": sums(stage),
        "plugs": plugs,
        "gateway": {"mode": "well"},
        "breaker": BREAKER,
        "pace": [{"at": now, "forward": 20 + at % 5, "back": at % 3} for at in range(60)],
        "stream_per_s": 0,
    }


def sums(stage: Stage) -> Json:
    """The totals of the recorded books, with what the test says otherwise."""
    books = [*stage.shop.books.values()]

    def money(*path: str) -> Decimal:
        figures = [one[path[0]][path[1]] if len(path) == 2 else one[path[0]] for one in books]
        return sum(map(Decimal, figures), Decimal("0.00"))

    taken, back, is_open = money("gateway", "taken"), money("gateway", "back"), money("open")
    usual = {
        "taken": str(taken), "back": str(back), "delivered": str(taken - back - is_open), "open": str(is_open),
        "open_count": sum(one["open"] != "0.00" for one in books), "adrift": "0.00", "adrift_orders": [],
        "owed": str(money("order", "owed")), "cancelled": str(money("order", "cancelled")),
        "stock_out": sum(one["stock"]["out"] for one in books),
        "stock_back": sum(one["stock"]["back"] for one in books),
        "orders": len(books), "as_of": iso(datetime.now(UTC)),
    }  # fmt: skip
    return {**usual, **stage.totals}


def _frame(name: str, data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def _problem(status: int, detail: str) -> Response:
    return Response(json.dumps({"title": "Refused", "status": status, "detail": detail}), status, media_type=PROBLEM)
