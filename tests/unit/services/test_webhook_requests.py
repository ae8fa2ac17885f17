"""What the webhook refuses before it asks its database: nothing here is signed well enough to get that far."""

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from services.delivery import webhook
from services.delivery.signature import SIGNATURE_HEADER, WEBHOOK_PATH
from services.gateway.webhooks import signed

SECRET = "whsec_test"
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(webhook.application(NOWHERE, SECRET))
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        yield client


async def post(client: httpx.AsyncClient, body: bytes, header: str | None = None) -> httpx.Response:
    header = signed(SECRET, body, int(time.time())) if header is None else header
    return await client.post(WEBHOOK_PATH, content=body, headers={SIGNATURE_HEADER: header})


async def test_a_signature_comes_first(client: httpx.AsyncClient) -> None:
    answer = await post(client, b"nonsense", "t=1,v1=00")
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
    assert (await client.post(WEBHOOK_PATH, content=b"{}")).status_code == 401


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"id": "evt 1", "type": "payment.paid", "payment": {"id": "p", "amount": 1}}']
)
async def test_what_is_no_event_is_refused_by_name(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await post(client, body)
    assert answer.status_code == 422
    assert "no event of a payment" in answer.json()["detail"]


async def test_no_more_is_read_of_a_body_than_it_may_have(client: httpx.AsyncClient) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1024
            yield b"x" * 1024

    answer = await client.post(WEBHOOK_PATH, content=endless(), headers={SIGNATURE_HEADER: "t=1,v1=00"})
    assert answer.status_code == 413
    assert read <= webhook.BODY_BYTES_MAX + 2048


async def test_a_body_that_does_not_come_is_not_waited_for(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_request: object) -> bytes:
        await asyncio.Event().wait()
        return b""

    monkeypatch.setattr(webhook, "BODY_PATIENCE_S", 0.05)
    monkeypatch.setattr(webhook, "body_of", never)
    assert (await post(client, b"{}")).status_code == 408


async def test_a_database_that_is_away_is_said_so(client: httpx.AsyncClient) -> None:
    answer = await post(
        client, b'{"id": "evt_1", "type": "payment.paid", "payment": {"id": "pay_1", "amount": "45.00"}}'
    )
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_without_a_secret_it_does_not_begin() -> None:
    with pytest.raises(SystemExit, match="WEBHOOK_SECRET"):
        webhook.application(NOWHERE, "")
