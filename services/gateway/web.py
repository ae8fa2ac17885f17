"""The gateway's HTTP side: charges, and the switch with which a test breaks everything. Payments are in `pages`.

POST /charges {order_id, card, amount}    Idempotency-Key    201 {id}, 402 {reason}, 409 for a key used differently
POST /refunds {order_id, charge}          Idempotency-Key    201 {id}, 404
GET  /charges?key=K or ?order_id=O        200 [{id, amount}] or []
POST /admin/phase {phase}                 normal, slow, down, loses; restart_s, distraction_s: see `script.Restart`
GET  /admin/phase                         {phase}
GET  /admin/state                         {phase, requests_per_second, running, attempts_by_key}
"""

import time
from decimal import Decimal
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.gateway.book import Book, Booking, KeyUsedDifferently, NoSuchCharge
from services.gateway.desk import Asked, Desk, refusal
from services.gateway.pages import Pages
from services.gateway.payments import Payments
from services.gateway.script import PACES, Restart, trick_of

RATE_WINDOW_S = 2.0


class Gateway:
    """One gateway: its book, its desk, and what it can be asked for there."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.desk = Desk(book)
        self.payments = Payments(book.connection)

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
                *Pages(self.payments, self.desk).routes(),
            ]
        )

    async def charge(self, request: Request) -> Response:
        """Charge a card, or do what its script says."""
        key, body = request.headers.get("Idempotency-Key"), await request.json()
        if not key:
            return refusal(400, "send an Idempotency-Key")
        attempt = self.desk.begin("charge", key, body["order_id"])
        trick = trick_of(body["card"], self.book.times_asked(body["order_id"], "charge"))
        asked = Asked(request, attempt, "charge", key, trick)
        return await self.desk.serve(asked, lambda: self._charge(attempt, key, body))

    async def refund(self, request: Request) -> Response:
        """Give a charge back, all of it."""
        key, body = request.headers.get("Idempotency-Key"), await request.json()
        if not key:
            return refusal(400, "send an Idempotency-Key")
        attempt = self.desk.begin("refund", key, body["order_id"])
        return await self.desk.serve(Asked(request, attempt, "refund", key), lambda: self._refund(attempt, key, body))

    async def look_up(self, request: Request) -> Response:
        """What was charged under a key, or for an order."""
        key, order_id = request.query_params.get("key", ""), request.query_params.get("order_id")
        attempt = self.desk.begin("lookup", key, order_id)
        return await self.desk.serve(Asked(request, attempt, "lookup", key), lambda: self._look_up(key, order_id))

    async def set_phase(self, request: Request) -> Response:
        """Let everything go wrong, or well again."""
        asked = await request.json()
        phase = asked["phase"]
        if phase not in PACES:
            return refusal(400, f"phases are {', '.join(PACES)}")
        now_s = time.time()
        self.desk.enter(phase, now_s)
        if "restart_s" in asked:
            self.desk.restart = Restart(now_s + asked["restart_s"], asked.get("distraction_s", 0.0))
        return JSONResponse({"phase": phase})

    async def show_phase(self, _request: Request) -> Response:
        """How it is now; costs nothing, so it may be asked all the time."""
        self.desk.come_up()
        return JSONResponse({"phase": self.desk.phase})

    async def state(self, _request: Request) -> Response:
        """What the gateway sees of its customers."""
        self.desk.come_up()
        return JSONResponse(
            {
                "phase": self.desk.phase,
                "running": self.desk.running,
                "requests_per_second": self.book.requests_since(time.time() - RATE_WINDOW_S) / RATE_WINDOW_S,
                "attempts_by_key": self.book.attempts_by_key(),
            }
        )

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
