"""The gateway's HTTP side.

POST /charges {order_id, card, amount}    Idempotency-Key    201 {id}, 402 {reason}, 409 for a key used differently
POST /refunds {order_id, charge}          Idempotency-Key    201 {id}, 404
GET  /charges?key=K or ?order_id=O        200 [{id, amount}] or []
POST /admin/phase {phase}                 normal, slow, down, loses; restart_s, distraction_s: see `script.Restart`
GET  /admin/phase                         {phase}
GET  /admin/state                         {phase, requests_per_second, running, attempts_by_key}
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.gateway.book import Answer, Book, Booking, KeyUsedDifferently, Kind, NoSuchCharge
from services.gateway.hang_up import NoAnswer
from services.gateway.script import LATE_ANSWER_S, PACES, Phase, Restart, Trick, hangs_up, loses_answer, trick_of

RATE_WINDOW_S = 2.0
Work = Callable[[], Response]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as the book counts it, and the trick that its card plays."""

    request: Request
    attempt: int
    kind: Kind
    key: str
    trick: Trick = "none"


class Gateway:
    """One gateway: its book, and the phase it is in."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.phase: Phase = "normal"
        self.restart: Restart | None = None
        self.running = 0

    def application(self) -> Starlette:
        """The ASGI application; it needs `HangUpProtocol` under it."""
        return Starlette(
            routes=[
                Route("/charges", self.charge, methods=["POST"]),
                Route("/charges", self.look_up, methods=["GET"]),
                Route("/refunds", self.refund, methods=["POST"]),
                Route("/admin/phase", self.set_phase, methods=["POST"]),
                Route("/admin/phase", self.show_phase, methods=["GET"]),
                Route("/admin/state", self.state, methods=["GET"]),
            ]
        )

    async def charge(self, request: Request) -> Response:
        """Charge a card, or do what its script says."""
        key, body = request.headers.get("Idempotency-Key"), await request.json()
        if not key:
            return refusal(400, "send an Idempotency-Key")
        attempt = self._begin("charge", key, body["order_id"])
        trick = trick_of(body["card"], self.book.times_asked(body["order_id"], "charge"))
        asked = Asked(request, attempt, "charge", key, trick)
        return await self._serve(asked, lambda: self._charge(attempt, key, body))

    async def refund(self, request: Request) -> Response:
        """Give a charge back, all of it."""
        key, body = request.headers.get("Idempotency-Key"), await request.json()
        if not key:
            return refusal(400, "send an Idempotency-Key")
        attempt = self._begin("refund", key, body["order_id"])
        return await self._serve(Asked(request, attempt, "refund", key), lambda: self._refund(attempt, key, body))

    async def look_up(self, request: Request) -> Response:
        """What was charged under a key, or for an order."""
        key, order_id = request.query_params.get("key", ""), request.query_params.get("order_id")
        attempt = self._begin("lookup", key, order_id)
        return await self._serve(Asked(request, attempt, "lookup", key), lambda: self._look_up(key, order_id))

    async def set_phase(self, request: Request) -> Response:
        """Let everything go wrong, or well again."""
        asked = await request.json()
        phase = asked["phase"]
        if phase not in PACES:
            return refusal(400, f"phases are {', '.join(PACES)}")
        now_s = time.time()
        self._enter(phase, now_s)
        if "restart_s" in asked:
            self.restart = Restart(now_s + asked["restart_s"], asked.get("distraction_s", 0.0))
        return JSONResponse({"phase": phase})

    async def show_phase(self, _request: Request) -> Response:
        """How it is now; costs nothing, so it may be asked all the time."""
        self._come_up()
        return JSONResponse({"phase": self.phase})

    async def state(self, _request: Request) -> Response:
        """What the gateway sees of its customers."""
        self._come_up()
        return JSONResponse(
            {
                "phase": self.phase,
                "running": self.running,
                "requests_per_second": self.book.requests_since(time.time() - RATE_WINDOW_S) / RATE_WINDOW_S,
                "attempts_by_key": self.book.attempts_by_key(),
            }
        )

    def _enter(self, phase: Phase, at_s: float) -> None:
        self.phase, self.restart = phase, None
        self.book.note_phase(phase, at_s)

    def _come_up(self) -> None:
        """Be well, if the restart is over."""
        if self.restart is not None and time.time() >= self.restart.well_at_s:
            self._enter("normal", self.restart.well_at_s)

    def _begin(self, kind: Kind, key: str, order_id: str | None) -> int:
        """Write the request down, before anything is done about it; return its number."""
        self._come_up()
        if self.restart is not None:
            self.restart = self.restart.distracted()
        return self.book.begin(kind, key, order_id, self.phase)

    async def _serve(self, asked: Asked, work: Work) -> Response:
        """Take the time, do the work halfway through it, and answer as the phase and the trick say."""
        self.running += 1
        try:
            answer, response = await self._answer(asked, work)
            self.book.end(asked.attempt, answer)
            return response
        finally:
            self.running -= 1

    async def _answer(self, asked: Asked, work: Work) -> tuple[Answer, Response]:
        phase = self.phase
        half_s = PACES[phase].of(asked.key) / 2
        await asyncio.sleep(half_s)
        if phase == "down":
            if hangs_up(asked.key, self.book.times_tried(asked.key, asked.kind)):
                return "hung up", NoAnswer(asked.request)
            return "turned away", refusal(503, "we are down; nothing was booked", {"Retry-After": "2"})
        if asked.trick == "decline":
            self.book.note_effect(asked.attempt, "declined")
            await asyncio.sleep(half_s)
            return "sent", refusal(402, "the card was declined")
        response = work()
        if asked.trick == "lose answer" or self._loses(phase, asked):
            return "lost", NoAnswer(asked.request)
        await asyncio.sleep(LATE_ANSWER_S if asked.trick == "answer late" else half_s)
        return "late" if asked.trick == "answer late" else "sent", response

    def _loses(self, phase: Phase, asked: Asked) -> bool:
        return loses_answer(phase, asked.key, self.book.times_tried(asked.key, asked.kind))

    def _charge(self, attempt: int, key: str, body: dict[str, Any]) -> Response:
        cents = int(Decimal(body["amount"]) * 100)
        try:
            charge = self.book.charge(key, body["order_id"], body["card"], cents)
        except KeyUsedDifferently as error:
            return refusal(409, str(error))
        self.book.note_effect(attempt, "repeated" if charge.repeated else "booked")
        return JSONResponse(shown(charge), 201)

    def _refund(self, attempt: int, key: str, body: dict[str, Any]) -> Response:
        try:
            refund = self.book.refund(key, body["charge"])
        except NoSuchCharge as error:
            return refusal(404, f"there is no charge {error}")
        self.book.note_effect(attempt, "repeated" if refund.repeated else "booked")
        return JSONResponse(shown(refund), 201)

    def _look_up(self, key: str, order_id: str | None) -> Response:
        if order_id is not None:
            return JSONResponse([shown(charge) for charge in self.book.charges_of(order_id)])
        found = self.book.charge_of(key)
        return JSONResponse([] if found is None else [shown(found)])


def shown(booking: Booking) -> dict[str, str]:
    """A charge or a refund as customers see it."""
    return {"id": booking.id, "order_id": booking.order_id, "amount": str(Decimal(booking.cents) / 100)}


def refusal(status: int, reason: str, headers: dict[str, str] | None = None) -> Response:
    """An answer that is not a yes."""
    return JSONResponse({"reason": reason}, status, headers)
