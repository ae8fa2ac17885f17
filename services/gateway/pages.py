"""The HTTP side of payments: what the shop asks for, and what its customer does on the gateway's page.

POST /payments {order_id, card, amount}   Idempotency-Key    201 {id, pay_at, state …}, 409 for a key used differently
GET  /payments?key=K or ?order_id=O       200 [payment …] or []
GET  /payments/{id}                       200, 404
POST /payments/{id}/cancel                Idempotency-Key    200; 409 while the card's bank disputes it: the money stays
POST /payments/{id}/pay {card?}           the customer       200; 402: the card was declined; 409: not to be paid now
POST /payments/{id}/refuse                the customer       200, 409
POST /admin/disputes/{id}/withdraw        the card's bank    200, 409
"""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.gateway.desk import Asked, Desk, Work, refusal
from services.gateway.payments import Act, NoSuchPayment, NotNow, Payment, PaymentKeyUsedDifferently, Payments, shown
from services.gateway.script import trick_of


class Pages:
    """The routes of payments. Requests of the shop meet the gateway's phases at the desk, as charges do."""

    def __init__(self, payments: Payments, desk: Desk) -> None:
        self._payments = payments
        self._desk = desk

    def routes(self) -> list[Route]:
        """To be mounted beside the charges."""
        return [
            Route("/payments", self.create, methods=["POST"]),
            Route("/payments", self.look_up, methods=["GET"]),
            Route("/payments/{id}", self.show, methods=["GET"]),
            Route("/payments/{id}/cancel", self.cancel, methods=["POST"]),
            Route("/payments/{id}/{act:str}", self.customer, methods=["POST"]),
            Route("/admin/disputes/{id}/withdraw", self.withdraw, methods=["POST"]),
        ]

    async def create(self, request: Request) -> Response:
        """Ask for a payment; nobody has paid yet."""
        key, body = request.headers.get("Idempotency-Key"), await request.json()
        if not key:
            return refusal(400, "send an Idempotency-Key")
        attempt = self._desk.begin("payment", key, body["order_id"])
        trick = trick_of(body["card"], self._desk.book.times_asked(body["order_id"], "payment"))
        # What a card is declined or disputed for happens when it is used, and not yet.
        asked = Asked(request, attempt, "payment", key, "none" if trick in ("decline", "dispute") else trick)
        return await self._desk.serve(asked, lambda: self._create(attempt, key, body))

    async def look_up(self, request: Request) -> Response:
        """What was asked for under a key, or for an order."""
        key, order_id = request.query_params.get("key", ""), request.query_params.get("order_id")
        attempt = self._desk.begin("lookup", key, order_id)
        return await self._desk.serve(Asked(request, attempt, "lookup", key), lambda: self._look_up(key, order_id))

    async def show(self, request: Request) -> Response:
        """One payment, as the page shows it."""
        return self._answered(lambda: self._payments.of_id(request.path_params["id"]))

    async def cancel(self, request: Request) -> Response:
        """Let nobody pay it any more, and give back what was paid."""
        key, payment_id = request.headers.get("Idempotency-Key"), request.path_params["id"]
        if not key:
            return refusal(400, "send an Idempotency-Key")
        attempt = self._desk.begin("cancel", key, self._order_of(payment_id))
        work = self._moved(payment_id, "cancel", attempt)
        return await self._desk.serve(Asked(request, attempt, "cancel", key), work)

    async def customer(self, request: Request) -> Response:
        """Pay it, or don't want to."""
        payment_id, act = request.path_params["id"], request.path_params["act"]
        if self._desk.phase == "down":
            return refusal(503, "we are down; nothing was paid")
        body = await request.body()
        match act:
            case "pay":
                card = json.loads(body).get("card") if body else None
                answer = self._answered(lambda: self._payments.pay(payment_id, card))
            case "refuse":
                answer = self._answered(lambda: self._payments.move(payment_id, "refuse"))
            case _:
                return refusal(404, "a customer can pay or refuse")
        if act == "pay" and answer.status_code == 200 and self._payments.of_id(payment_id).state == "refused":
            return refusal(402, "the card was declined")
        return answer

    async def withdraw(self, request: Request) -> Response:
        """The card's bank has decided for the shop."""
        return self._answered(lambda: self._payments.move(request.path_params["id"], "withdraw"))

    def _create(self, attempt: int, key: str, body: dict[str, Any]) -> Response:
        cents = int(Decimal(body["amount"]) * 100)
        try:
            payment = self._payments.create(key, body["order_id"], body["card"], cents)
        except PaymentKeyUsedDifferently as error:
            return refusal(409, str(error))
        self._desk.book.note_effect(attempt, "repeated" if payment.repeated else "booked")
        return JSONResponse(shown(payment), 201)

    def _look_up(self, key: str, order_id: str | None) -> Response:
        if order_id is not None:
            return JSONResponse([shown(payment) for payment in self._payments.of_order(order_id)])
        found = self._payments.of_key(key)
        return JSONResponse([] if found is None else [shown(found)])

    def _moved(self, payment_id: str, act: Act, attempt: int) -> Work:
        def work() -> Response:
            answer = self._answered(lambda: self._payments.move(payment_id, act))
            self._desk.book.note_effect(attempt, "booked" if answer.status_code == 200 else "declined")
            return answer

        return work

    def _order_of(self, payment_id: str) -> str | None:
        try:
            return self._payments.of_id(payment_id).order_id
        except NoSuchPayment:
            return None

    def _answered(self, work: Callable[[], Payment]) -> JSONResponse:
        try:
            return JSONResponse(shown(work()))
        except NoSuchPayment as error:
            return refusal(404, f"there is no payment {error}")
        except NotNow as error:
            return refusal(409, str(error))
