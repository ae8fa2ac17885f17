"""Payments at the gateway, over real HTTP: what the shop may ask for, what the customer does, what is owed."""

import asyncio
import json
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from services.delivery.menu import DECLINED_CARD, DISPUTED_CARD, GOOD_CARD
from services.delivery.signature import Bad, check
from services.gateway import script
from services.gateway.__main__ import HOST, run
from services.gateway.book import Book
from services.gateway.script import Pace
from services.gateway.web import Gateway
from services.gateway.webhooks import SIGNATURE_HEADER, Endpoint
from tests.deadlines import eventually_async

SECRET = "whsec_of_a_test"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    paces = {p: Pace(q.fastest_s / 50, q.slowest_s / 50) for p, q in script.PACES.items()}
    for module in ("desk", "web", "webhooks"):
        monkeypatch.setattr(f"services.gateway.{module}.PACES", paces)
    monkeypatch.setattr("services.gateway.desk.LATE_ANSWER_S", 0.3)
    monkeypatch.setattr("services.gateway.webhooks.AGAIN_FIRST_S", 0.05)


class Shop:
    """Where webhooks go: refuses the first `refusals` of them."""

    def __init__(self, refusals: int = 0) -> None:
        self.heard: list[tuple[str, str]] = []
        self.refusals = refusals
        self.server = server_of(Starlette(routes=[Route("/", self.hear, methods=["POST"])]))

    async def hear(self, request: Request) -> Response:
        body = await request.body()
        assert not isinstance(check(SECRET, request.headers[SIGNATURE_HEADER], body), Bad)
        event = json.loads(body)
        self.heard.append((event["id"], event["type"]))
        self.refusals -= 1
        return PlainTextResponse("", 503 if self.refusals >= 0 else 200)

    def types(self) -> list[str]:
        return sorted(kind for _, kind in self.heard)


def server_of(app: Starlette) -> uvicorn.Server:
    return uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="warning"))


@asynccontextmanager
async def gateway(path: Path, shop: Shop | None = None) -> AsyncIterator[httpx.AsyncClient]:
    with socket.create_server((HOST, 0)) as listener, socket.create_server((HOST, 0)) as shops:
        url = f"http://{HOST}:{listener.getsockname()[1]}"
        endpoint = Endpoint(f"http://{HOST}:{shops.getsockname()[1]}/", SECRET)
        book = Book(path)
        tasks = [asyncio.create_task(run(Gateway(book), listener, endpoint if shop else None))]
        if shop:
            tasks.append(asyncio.create_task(shop.server.serve(sockets=[shops])))
        async with httpx.AsyncClient(base_url=url, timeout=10) as client:
            yield client
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        book.close()


async def ask(
    client: httpx.AsyncClient, key: str = "k", card: str = GOOD_CARD, amount: str = "45.00"
) -> httpx.Response:
    body = {"order_id": "o-1", "card": card, "amount": amount}
    return await client.post("/payments", json=body, headers={"Idempotency-Key": key})


async def cancel(client: httpx.AsyncClient, payment: str, key: str = "k:undo") -> httpx.Response:
    return await client.post(f"/payments/{payment}/cancel", headers={"Idempotency-Key": key}, json={})


def ledger(path: Path) -> tuple[int, int]:
    with sqlite3.connect(path) as db:
        row = db.execute("SELECT coalesce(sum(taken_cents), 0), coalesce(sum(back_cents), 0) FROM ledger").fetchone()
    return int(row[0]), int(row[1])


async def test_a_payment_is_asked_for_once_a_key_and_found_by_it(tmp_path: Path) -> None:
    async with gateway(tmp_path / "book") as client:
        answers = [await ask(client), *await asyncio.gather(*(ask(client) for _ in range(5)))]
        assert {a.status_code for a in answers} == {201}
        (found,) = (await client.get("/payments", params={"key": "k"})).json()
        assert {a.json()["id"] for a in answers} == {found["id"]}
        assert (found["state"], found["amount"]) == ("pending", "45.00")
        assert (await client.get("/payments", params={"key": "other"})).json() == []
        assert (await ask(client, amount="45.01")).status_code == 409
        assert (await client.post("/payments", json={})).status_code == 400
    assert ledger(tmp_path / "book") == (0, 0)


async def test_what_a_customer_pays_is_taken_once(tmp_path: Path) -> None:
    async with gateway(tmp_path / "book") as client:
        payment = (await ask(client)).json()["id"]
        assert (await client.post(f"/payments/{payment}/pay")).json()["state"] == "paid"
        assert (await client.post(f"/payments/{payment}/pay")).status_code == 409
        assert (await client.post(f"/payments/{payment}/refuse")).status_code == 409
        assert (await client.post("/payments/pay_none/pay")).status_code == 404
    assert ledger(tmp_path / "book") == (4500, 0)


async def test_cancelling_voids_what_is_not_paid_and_refunds_what_is(tmp_path: Path) -> None:
    async with gateway(tmp_path / "book") as client:
        unpaid, paid = (await ask(client, "k1")).json()["id"], (await ask(client, "k2")).json()["id"]
        await client.post(f"/payments/{paid}/pay")
        assert (await cancel(client, unpaid)).json()["state"] == "cancelled"
        assert (await client.post(f"/payments/{unpaid}/pay")).status_code == 409
        first, second = [(await cancel(client, paid)).json() for _ in range(2)]
        assert first == second
        assert (first["state"], first["refund_id"][:3]) == ("refunded", "re_")
        assert (await cancel(client, "pay_none")).status_code == 404
        assert (await client.post(f"/payments/{paid}/cancel")).status_code == 400
    assert ledger(tmp_path / "book") == (4500, 4500)


async def test_a_declined_card_takes_nothing(tmp_path: Path) -> None:
    async with gateway(tmp_path / "book") as client:
        payment = (await ask(client, card=DECLINED_CARD)).json()["id"]
        assert (await client.post(f"/payments/{payment}/pay")).status_code == 402
        assert (await client.get(f"/payments/{payment}")).json()["state"] == "refused"
        assert (await cancel(client, payment)).json()["state"] == "refused"
    assert ledger(tmp_path / "book") == (0, 0)


async def test_a_disputed_payment_is_not_refunded_before_the_bank_has_decided(tmp_path: Path) -> None:
    async with gateway(tmp_path / "book") as client:
        payment = (await ask(client)).json()["id"]
        await client.post(f"/payments/{payment}/pay", json={"card": DISPUTED_CARD})
        assert (await cancel(client, payment)).status_code == 409
        assert ledger(tmp_path / "book") == (4500, 0)
        await client.post(f"/admin/disputes/{payment}/withdraw")
        assert (await cancel(client, payment)).json()["state"] == "refunded"
    assert ledger(tmp_path / "book") == (4500, 4500)


async def test_every_second_answer_is_lost_while_it_loses_them_but_the_work_is_done(tmp_path: Path) -> None:
    async with gateway(tmp_path / "book") as client:
        await client.post("/admin/phase", json={"phase": "loses"})
        with pytest.raises(httpx.TransportError):
            await ask(client)
        (found,) = (await client.get("/payments", params={"key": "k"})).json()
        assert (await ask(client)).json()["id"] == found["id"]


async def test_the_shop_is_told_each_change_until_it_has_heard(tmp_path: Path) -> None:
    shop = Shop(refusals=2)
    async with gateway(tmp_path / "book", shop) as client:
        payment = (await ask(client)).json()["id"]
        await client.post(f"/payments/{payment}/pay")
        await cancel(client, payment)
        await eventually_async(lambda: _heard(tmp_path / "book", 2), 10, "both are heard")
    assert shop.types() == ["payment.paid"] * 2 + ["payment.refunded"] * 2
    assert len(set(shop.heard)) == 2


async def test_what_is_owed_outlives_the_gateway(tmp_path: Path) -> None:
    shop = Shop()
    async with gateway(tmp_path / "book") as client:
        payment = (await ask(client)).json()["id"]
        await client.post(f"/payments/{payment}/pay")
    async with gateway(tmp_path / "book", shop):
        await eventually_async(lambda: _heard(tmp_path / "book", 1), 10, "it is heard")
    assert shop.types() == ["payment.paid"]


async def _heard(path: Path, n: int) -> bool:
    with sqlite3.connect(path) as db:
        return db.execute("SELECT count(*) FROM webhooks WHERE heard_at IS NOT NULL").fetchone() == (n,)
