"""What never reaches a route: strangers, foreign pages, floods. The app behind the guard tells what got through."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest

from orchestrator.api import limits
from orchestrator.api.guard import CALLER, Guard
from orchestrator.api.loopback import is_loopback
from orchestrator.api.tokens import Token, sha256_of

TOKENS = (Token("ada", "operate", sha256_of("A")), Token("bob", "read", sha256_of("B")))
ADA, BOB = {"Authorization": "Bearer A"}, {"Authorization": "bearer B"}


async def inner(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body and says who asked, and for which path."""
    while (await receive()).get("more_body"):
        pass
    body = f"{scope[CALLER].name}:{scope[CALLER].role} {scope['path']}".encode()
    headers = [(b"cache-control", b"max-age=9"), (b"x-own", b"1")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def client(
    tokens: Sequence[Token] = (), *, app: Any = inner, peer: str = "127.0.0.1", host: str = "localhost", **guard: Any
) -> httpx.AsyncClient:
    guarded = Guard(app, tokens, guard.get("origins", ()))
    return httpx.AsyncClient(transport=httpx.ASGITransport(guarded, client=(peer, 1)), base_url=f"http://{host}")


async def test_without_tokens_this_machine_may_do_all() -> None:
    for host in ("localhost", "127.0.0.1:8787", "[::1]:8787", "127.8.8.8"):
        async with client(host=host) as asks:
            assert (await asks.post("/v1/x", json={})).text == "local:operate /v1/x"


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "10.0.0.7", "169.254.169.254", "0.0.0.0"])
async def test_a_foreign_name_that_points_here_is_refused(host: str) -> None:
    async with client(host=host) as asks:
        answer = await asks.get("/v1/sagas")
    assert answer.status_code == 403
    assert "AMENDS_API_TOKENS" in answer.json()["detail"]


@pytest.mark.parametrize("header", ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via"])
async def test_without_tokens_nobody_comes_from_elsewhere(header: str) -> None:
    async with client(peer="10.0.0.7") as asks:
        assert (await asks.get("/v1/sagas")).status_code == 403
    async with client() as asks:
        assert (await asks.get("/v1/sagas", headers={header: "127.0.0.1"})).status_code == 403


async def test_with_tokens_anybody_who_has_one() -> None:
    async with client(TOKENS, peer="10.0.0.7", host="amends.example") as asks:
        assert (await asks.get("/v1/sagas", headers=ADA)).text == "ada:operate /v1/sagas"
        assert (await asks.get("/v1/sagas", headers=BOB)).text == "bob:read /v1/sagas"
        assert (await asks.post("/v1/x", headers=ADA, json={})).status_code == 200


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer ", "Bearer C", "Basic A", "A", "Bearer A A", f"Bearer {'A' * 201}"]
)
async def test_with_tokens_nobody_else(authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    async with client(TOKENS) as asks:
        answer = await asks.get("/v1/sagas", headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="amends"')
    assert answer.headers["content-type"] == "application/problem+json"


async def test_what_is_longer_than_any_token_is_not_even_hashed() -> None:
    text = "A" * (limits.TOKEN_CHARS_MAX + 1)
    async with client([Token("long", "read", sha256_of(text))]) as asks:
        assert (await asks.get("/v1/sagas", headers={"Authorization": f"Bearer {text}"})).status_code == 401


async def test_a_probe_needs_no_token_but_a_wrong_one_is_wrong() -> None:
    async with client(TOKENS) as asks:
        assert (await asks.get("/v1/health")).text == ":read /v1/health"
        assert (await asks.post("/v1/health", json={})).status_code == 403
        assert (await asks.get("/v1/health", headers={"Authorization": "Bearer C"})).status_code == 401


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "BREW"])
async def test_who_may_only_read_changes_nothing(method: str) -> None:
    async with client(TOKENS) as asks:
        answer = await asks.request(method, "/v1/x", headers=BOB, json={})
        assert answer.status_code == 403
        assert "operate" in answer.json()["detail"]
        assert (await asks.request(method, "/v1/x", headers=ADA, json={})).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:3000", "https://localhost", ""])
async def test_a_page_of_another_origin_changes_nothing(origin: str) -> None:
    async with client() as asks:
        assert (await asks.post("/v1/x", headers={"Origin": origin}, json={})).status_code == 403
    async with client(origins=["http://ops.example"]) as asks:
        assert (await asks.post("/v1/x", headers={"Origin": origin}, json={})).status_code == 403


async def test_its_own_pages_and_those_that_are_named_may() -> None:
    async with client(origins=["https://ops.example"]) as asks:
        for origin in ("http://localhost", "https://ops.example"):
            assert (await asks.post("/v1/x", headers={"Origin": origin}, json={})).status_code == 200


async def test_without_tokens_a_page_of_another_site_does_not_even_look() -> None:
    """It could not read the answers, but take all the places of the streams."""
    elsewhere = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
    async with client(origins=["https://ops.example"]) as asks:
        assert (await asks.get("/v1/events", headers=elsewhere)).status_code == 403
        assert (await asks.get("/v1/events", headers={**elsewhere, "Sec-Fetch-Site": "same-site"})).status_code == 403
        assert (await asks.get("/v1/events", headers={**elsewhere, "Origin": "https://ops.example"})).status_code == 200
        assert (await asks.get("/v1/sagas", headers={**elsewhere, "Sec-Fetch-Mode": "navigate"})).status_code == 200
        assert (await asks.get("/v1/sagas", headers={"Sec-Fetch-Site": "same-origin"})).status_code == 200
    async with client(TOKENS) as asks:
        assert (await asks.get("/v1/events", headers={**elsewhere, **ADA})).status_code == 200


async def test_every_answer_is_private_and_what_it_says_it_is() -> None:
    async with client(TOKENS) as asks:
        for answer in (await asks.get("/v1/sagas", headers=ADA), await asks.get("/v1/sagas")):
            assert answer.headers.get_list("cache-control") == ["no-store"]
            assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_path_arrives_as_it_was_sent() -> None:
    async with client() as asks:
        assert (await asks.get("/v1/sagas/a%2Fb%20c?x=1")).text.endswith(" /v1/sagas/a%2Fb%20c")


async def test_a_body_that_says_that_it_is_too_large() -> None:
    async with client() as asks:
        answer = await asks.post("/v1/x", content=b"x" * (limits.BODY_BYTES_MAX + 1))
        assert (answer.status_code, answer.json()["type"]) == (413, "urn:amends:too-large")
        assert (await asks.post("/v1/x", content=b"x" * limits.BODY_BYTES_MAX)).status_code == 200
        headers = {"Content-Length": "9" * 5_000}
        assert (await asks.post("/v1/x", content=b"x", headers=headers)).status_code == 413


@pytest.mark.parametrize("headers", [{"X-Long": "x" * limits.HEAD_BYTES_MAX}, {"x" * limits.HEAD_BYTES_MAX: "1"}])
async def test_a_head_that_is_too_large(headers: dict[str, str]) -> None:
    async with client() as asks:
        assert (await asks.get("/v1/x", headers=headers)).status_code == 431
        assert (await asks.get(f"/v1/x?{'y' * limits.HEAD_BYTES_MAX}")).status_code == 431


async def test_a_flood_of_one_token_is_told_when_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BURST_MAX", 3)
    monkeypatch.setattr(limits, "RATE_PER_S", 0.001)
    async with client(TOKENS) as asks:
        assert [(await asks.get("/v1/x", headers=ADA)).status_code for _ in range(3)] == [200] * 3
        answer = await asks.get("/v1/x", headers=ADA)
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 100
        assert (await asks.get("/v1/x", headers=BOB)).status_code == 200


async def test_guesses_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BURST_MAX", 3)
    monkeypatch.setattr(limits, "RATE_PER_S", 0.001)
    async with client(TOKENS) as asks:
        guesses = [(await asks.get("/v1/x", headers={"Authorization": f"Bearer {n}"})).status_code for n in range(5)]
        assert guesses == [401, 401, 401, 429, 429]
        assert (await asks.get("/v1/x", headers=ADA)).status_code == 200
        assert (await asks.get("/v1/health")).status_code == 200


async def test_so_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REQUESTS_AT_ONCE_MAX", 2)
    going_on, entered = asyncio.Event(), asyncio.Semaphore(0)

    async def waits(scope: Any, receive: Any, send: Any) -> None:
        entered.release()
        await going_on.wait()
        await inner(scope, receive, send)

    async with client(app=waits) as asks:
        under_way = [asyncio.ensure_future(asks.get("/v1/x")) for _ in range(2)]
        for _ in under_way:
            await entered.acquire()
        busy = await asks.get("/v1/x")
        assert (busy.status_code, busy.headers["retry-after"]) == (503, "1")
        going_on.set()
        assert [(await one).status_code for one in under_way] == [200, 200]
        assert (await asks.get("/v1/x")).status_code == 200


async def test_what_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REQUEST_S", 0.05)

    async def never(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    async with client(app=never) as asks:
        answer = await asks.get("/v1/x")
    assert (answer.status_code, answer.json()["type"]) == (504, "urn:amends:too-slow")


async def test_a_body_that_trickles_is_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REQUEST_S", 0.05)

    async def trickle() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async with client() as asks:
        assert (await asks.post("/v1/x", content=trickle())).status_code == 504


def test_what_is_this_machine() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]", "::ffff:127.0.0.1")))
    assert not any(map(is_loopback, ("", "0.0.0.0", "::", "10.0.0.1", "localhost.", "example.com", "::ffff:10.0.0.1")))
