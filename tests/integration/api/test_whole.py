"""The API beside a real orchestrator, participant and relay: what is asked over HTTP happens."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from orchestrator import Command, Failure, Message, Participant, Saga, Transaction, saga
from orchestrator.api import create_api
from tests.deadlines import eventually_async
from tests.integration.api.conftest import ADA, TOKENS
from tests.integration.engine.conftest import books, system
from tests.integration.engine.kit import System
from tests.integration.engine.program import Post, TooMuch
from tests.roles import login_of

__all__ = ["books", "system"]

shelves = Participant("shelves")


class Onward(Message, name="OnwardOverHttp"):
    """By name alone it is found: no other module of the tests may have one of that name."""


class Shelve(Command[str], service="shelves"):
    """Its undo asks the table `stubborn` whether it may."""

    what: str


class Jammed(Failure):
    what: str


@shelves.handles(Shelve)
async def shelve(cmd: Shelve, tx: Transaction) -> str:
    return cmd.what


@shelve.undo
async def take_down(cmd: Shelve, _: str, tx: Transaction) -> None:
    if await (await tx.connection.execute("SELECT 1 FROM stubborn")).fetchone() is not None:
        raise Jammed(what=cmd.what)


@saga(name="posts")
async def posts(s: Saga, account: str) -> int:
    first = await s.call(Post(account=account, amount=10))
    await s.receive(Onward)
    return first


@saga(name="shelves_and_fails")
async def shelves_and_fails(s: Saga, what: str) -> None:
    await s.call(Shelve(what=what))
    await s.call(Post(account=what, amount=1000))


@pytest.fixture
def database_template() -> None:
    """The kit migrates an empty one."""


@pytest.fixture
async def asks(books: System) -> AsyncIterator[httpx.AsyncClient]:
    api = create_api(books.settings, tokens=TOKENS)
    async with (
        api.running(),
        httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://amends", headers=ADA) as client,
    ):
        yield client


async def is_now(asks: httpx.AsyncClient, id: str, status: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found: dict[str, Any] = (await asks.get(f"/v1/sagas/{id}")).json()
        return found if found["status"] == status else None

    return await eventually_async(look, 30, f"{id} is {status}")


async def test_a_saga_is_started_told_and_seen_to_its_end(books: System, asks: httpx.AsyncClient) -> None:
    books.orchestrator([posts], name="first")
    assert (await asks.put("/v1/sagas/p", json={"type": "posts", "input": "p"})).status_code == 201

    async def waits() -> bool:
        return (await asks.get("/v1/sagas/p")).json()["waiting_for"] == ["receive OnwardOverHttp"]

    await eventually_async(waits, 30, "it waits")
    sent = await asks.post("/v1/sagas/p/messages", json={"type": Onward.__wire_name__, "body": {}, "message_id": "1"})
    assert sent.status_code == 202
    found = await is_now(asks, "p", "completed")
    assert [(one["kind"], one["name"], one["state"]) for one in found["ops"]] == [
        ("call", "Post", "succeeded"),
        ("receive", "OnwardOverHttp", "succeeded"),
    ]
    attempts = (await asks.get("/v1/sagas/p/trace")).json()["attempts"]
    assert {one["worker"] for one in attempts} == {"first"}
    assert [row["name"] for row in (await asks.get("/v1/workers")).json()["workers"]] == ["first"]
    assert {row["owner"] for row in (await asks.get("/v1/shards")).json()["shards"]} == {"first"}


async def test_a_stuck_saga_is_tried_again_and_the_audit_names_the_token(
    books: System, asks: httpx.AsyncClient
) -> None:
    books.execute("CREATE TABLE stubborn (what text)")
    books.execute("INSERT INTO stubborn VALUES ('s')")
    books.participants([shelves])
    books.orchestrator([shelves_and_fails])
    await asks.put("/v1/sagas/s", json={"type": "shelves_and_fails", "input": "s"})
    await is_now(asks, "s", "stuck")
    desk = (await asks.get("/v1/sagas/s/desk")).json()
    retry = next(one for one in desk["verbs"] if one["verb"] == "retry")
    assert (desk["phase"], retry["fits"], retry["left"]) == ("undoing", True, [])
    books.execute("DELETE FROM stubborn")
    given = await asks.post("/v1/sagas/s/verbs", json={"verb": "retry", "note": "the shelf is free"})
    found = await is_now(asks, "s", "failed")
    assert [one["undo"] and one["undo"]["state"] for one in found["ops"]] == ["undone", None]
    assert found["error"].startswith(TooMuch.__name__)
    verb = (await asks.get(f"/v1/verbs/{given.json()['verb_no']}")).json()
    assert (verb["given_by"], verb["note"], verb["outcome"]) == (
        f"{login_of('person')}/ada",
        "the shelf is free",
        "done",
    )
