"""The gateway over real HTTP: it keeps its promises (keys, the book) and breaks the others as its script says."""

import asyncio
import socket
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest

from services.gateway import script
from services.gateway.__main__ import HOST, server
from services.gateway.book import Book
from services.gateway.script import Pace
from services.gateway.web import Gateway

DECLINES, LOSES_ANSWER, ANSWERS_LATE = "4000-0000-0000-0002", "4000-0000-0000-0119", "4000-0000-0000-0259"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The script's shape at a fiftieth of its times, but for the test that measures the real ones."""
    monkeypatch.setattr(script, "PACES", {p: Pace(q.fastest_s / 50, q.slowest_s / 50) for p, q in script.PACES.items()})
    monkeypatch.setattr("services.gateway.desk.PACES", script.PACES)
    monkeypatch.setattr("services.gateway.desk.LATE_ANSWER_S", 0.3)


@asynccontextmanager
async def gateway(path: Path) -> AsyncIterator[httpx.AsyncClient]:
    with socket.create_server((HOST, 0)) as listener:
        running = server(Gateway(Book(path)))
        serving = asyncio.create_task(running.serve(sockets=[listener]))
        url = f"http://{HOST}:{listener.getsockname()[1]}"
        async with httpx.AsyncClient(base_url=url, timeout=10) as client:
            yield client
        running.should_exit = True
        await serving


async def charge(client: httpx.AsyncClient, key: str, card: str = "ok", amount: str = "12.50") -> httpx.Response:
    body = {"order_id": "o-1", "card": card, "amount": amount}
    return await client.post("/charges", json=body, headers={"Idempotency-Key": key})


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(path) as db:
        return db.execute(query).fetchall()


async def test_a_key_is_charged_once_however_often_it_is_asked(tmp_path: Path) -> None:
    book = tmp_path / "book"
    async with gateway(book) as client:
        answers = [await charge(client, "k"), *await asyncio.gather(*(charge(client, "k") for _ in range(5)))]
        assert {a.status_code for a in answers} == {201}
        assert len({a.json()["id"] for a in answers}) == 1
        state = (await client.get("/admin/state")).json()
        assert state["attempts_by_key"] == {"k": 6}
        assert state["requests_per_second"] > 0
    assert rows(book, "SELECT order_id, cents FROM charges") == [("o-1", 1250)]
    effects = rows(book, "SELECT effect, count(*) FROM attempts GROUP BY 1 ORDER BY 1")
    assert effects == [("booked", 1), ("repeated", 5)]


async def test_simultaneous_requests_with_one_key_make_one_charge(tmp_path: Path) -> None:
    async with gateway(tmp_path / "book") as client:
        answers = await asyncio.gather(*(charge(client, "k") for _ in range(10)))
    assert len({a.json()["id"] for a in answers}) == 1


async def test_a_key_with_another_body_is_refused(tmp_path: Path) -> None:
    async with gateway(tmp_path / "book") as client:
        await charge(client, "k")
        assert (await charge(client, "k", amount="13.00")).status_code == 409
        assert (await client.post("/charges", json={"order_id": "o", "card": "c", "amount": "1"})).status_code == 400


async def test_a_charge_is_found_by_its_key(tmp_path: Path) -> None:
    async with gateway(tmp_path / "book") as client:
        assert (await client.get("/charges", params={"key": "k"})).json() == []
        charged = (await charge(client, "k")).json()
        assert (await client.get("/charges", params={"key": "k"})).json() == [charged]


async def test_a_refund_is_booked_once_a_key(tmp_path: Path) -> None:
    book = tmp_path / "book"
    async with gateway(book) as client:
        charged = (await charge(client, "k")).json()
        body, headers = {"order_id": "o-1", "charge": charged["id"]}, {"Idempotency-Key": "k:undo"}
        first, second = [await client.post("/refunds", json=body, headers=headers) for _ in range(2)]
        assert first.json() == second.json()
        unknown = await client.post("/refunds", json={**body, "charge": "none"}, headers={"Idempotency-Key": "x"})
        assert unknown.status_code == 404
    assert rows(book, "SELECT cents FROM refunds") == [(1250,)]


async def test_a_declined_card_leaves_nothing_in_the_book(tmp_path: Path) -> None:
    book = tmp_path / "book"
    async with gateway(book) as client:
        answer = await charge(client, "k", DECLINES)
        assert (answer.status_code, answer.json()["reason"]) == (402, "the card was declined")
    assert rows(book, "SELECT * FROM charges") == []
    assert rows(book, "SELECT effect, answer FROM attempts") == [("declined", "sent")]


async def test_an_answer_is_lost_after_the_charge_was_booked_and_the_second_request_finds_it(tmp_path: Path) -> None:
    book = tmp_path / "book"
    async with gateway(book) as client:
        with pytest.raises(httpx.TransportError):
            await charge(client, "k", LOSES_ANSWER)
        assert len(rows(book, "SELECT * FROM charges")) == 1
        assert (await charge(client, "k", LOSES_ANSWER)).status_code == 201
    assert rows(book, "SELECT effect, answer FROM attempts") == [("booked", "lost"), ("repeated", "sent")]


async def test_an_answer_is_lost_once_an_order_also_where_each_request_has_a_key_of_its_own(tmp_path: Path) -> None:
    book = tmp_path / "book"
    async with gateway(book) as client:
        with pytest.raises(httpx.TransportError):
            await charge(client, "k1", LOSES_ANSWER)
        assert (await charge(client, "k2", LOSES_ANSWER)).status_code == 201
        found = (await client.get("/charges", params={"order_id": "o-1"})).json()
        assert len(found) == 2
        assert (await client.get("/charges", params={"order_id": "o-2"})).json() == []
    assert rows(book, "SELECT effect, answer FROM attempts WHERE kind = 'charge'") == [
        ("booked", "lost"),
        ("booked", "sent"),
    ]


async def test_a_late_answer_comes_after_the_clients_patience(tmp_path: Path) -> None:
    book = tmp_path / "book"
    async with gateway(book) as client:
        with pytest.raises(httpx.TimeoutException):
            body = {"order_id": "o-1", "card": ANSWERS_LATE, "amount": "1"}
            await client.post("/charges", json=body, headers={"Idempotency-Key": "k"}, timeout=0.1)
        found = (await client.get("/charges", params={"key": "k"})).json()
        assert len(found) == 1


async def test_while_it_is_down_it_turns_away_or_hangs_up_and_books_nothing(tmp_path: Path) -> None:
    book = tmp_path / "book"
    async with gateway(book) as client:
        await client.post("/admin/phase", json={"phase": "down"})
        for n in range(20):
            with suppress(httpx.TransportError):
                assert (await charge(client, f"k{n}")).status_code == 503
        await client.post("/admin/phase", json={"phase": "normal"})
        assert (await charge(client, "k0")).status_code == 201
    assert rows(book, "SELECT count(*) FROM charges") == [(1,)]
    answers = {row[0] for row in rows(book, "SELECT DISTINCT answer FROM attempts WHERE phase = 'down'")}
    assert answers == {"turned away", "hung up"}


async def restarting(client: httpx.AsyncClient, restart_s: float, distraction_s: float) -> None:
    phase = {"phase": "down", "restart_s": restart_s, "distraction_s": distraction_s}
    (await client.post("/admin/phase", json=phase)).raise_for_status()


async def test_a_restart_ends_by_itself_and_the_book_says_when(tmp_path: Path) -> None:
    book = tmp_path / "book"
    async with gateway(book) as client:
        await restarting(client, 0.2, 0.0)
        assert (await client.get("/admin/state")).json()["phase"] == "down"
        await asyncio.sleep(0.25)
        assert (await charge(client, "k")).status_code == 201
    ((down, began_s), (well, ended_s)) = rows(book, "SELECT phase, at FROM phases ORDER BY at")
    assert (down, well) == ("down", "normal")
    assert ended_s - began_s == pytest.approx(0.2, abs=0.001)


async def test_what_a_restart_has_to_turn_away_makes_it_longer(tmp_path: Path) -> None:
    book = tmp_path / "book"
    async with gateway(book) as client:
        await restarting(client, 0.2, 30.0)
        with suppress(httpx.TransportError):
            await charge(client, "k")
        await asyncio.sleep(0.25)
        assert (await client.get("/admin/state")).json()["phase"] == "down"
        await client.post("/admin/phase", json={"phase": "normal"})  # whoever mends it has the last word
        assert (await charge(client, "k")).status_code == 201


async def test_the_book_outlives_the_process(tmp_path: Path) -> None:
    book = tmp_path / "book"
    async with gateway(book) as client:
        first = (await charge(client, "k")).json()
    async with gateway(book) as client:
        assert (await charge(client, "k")).json() == first


async def test_it_answers_in_the_time_of_its_phase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.desk.PACES", {**script.PACES, "normal": Pace(0.3, 1.0)})
    async with gateway(tmp_path / "book") as client:
        began_s = time.monotonic()
        await charge(client, "k")
        assert 0.3 <= time.monotonic() - began_s < 1.5
