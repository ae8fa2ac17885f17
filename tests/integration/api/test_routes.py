"""Each route on a real database: what a caller sends, what he reads, and what the tables hold then."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI

from orchestrator import App, Client, Saga, saga
from orchestrator.api import Api, limits
from orchestrator.messaging import avro
from tests.deadlines import eventually
from tests.integration.api.conftest import ADA, BOB
from tests.integration.client.sagas import Settled, ended, journaled
from tests.roles import login_of

S = 1_000_000
BEGAN = 1_767_225_600 * S
CALL = {"op": "call", "seq": 0, "name": "ReserveStock", "service": "stock", "body": {}}
CHARGE = {"op": "call", "seq": 1, "name": "ChargeCard", "service": "payments", "body": {}}
STARTED = [{"in": "started", "at": BEGAN, "input": {}}, CALL]
NO = {"kind": "failure", "type": "Declined", "text": "Declined()", "effect": "none", "fields": {}}
REPLIED = [{"in": "replied", "at": BEGAN + S, "seq": 0, "attempt": 1, "outcome": "succeeded"}, CHARGE]
REFUSED = [
    {"in": "replied", "at": BEGAN + 2 * S, "seq": 1, "attempt": 1, "outcome": "failed", "problem": NO},
    {"op": "status", "name": "compensating", "reason": "Declined"},
    {"op": "undo", "undo_of": 0, "attempt": 1, "name": "ReserveStock", "known": "done"},
]
STUCK = [
    {"in": "undo_replied", "at": BEGAN + 3 * S, "seq": 0, "attempt": 1, "outcome": "failed", "problem": NO},
    {"op": "status", "name": "stuck", "reason": "the undo of ReserveStock failed"},
]


@saga(name="greeting")
async def greeting(s: Saga, whom: str) -> str:
    return f"hello {whom}"


def ask(url: str, sql: str, *params: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql.encode(), params or None)
        return cursor.fetchall() if cursor.description else []


async def started(asks: httpx.AsyncClient, id: str = "order-7", **body: Any) -> None:
    answer = await asks.put(f"/v1/sagas/{id}", json={"type": "checkout", "input": {"n": 1}, **body})
    assert answer.status_code == 201, answer.text


def made_stuck(url: str, id: str = "order-7") -> None:
    journaled(url, id, STARTED, REPLIED, REFUSED, STUCK)
    ask(
        url,
        "UPDATE amends.sagas SET status = 'stuck', parked_at = now(), problem = %s WHERE id = %s",
        json.dumps(NO),
        id,
    )


async def test_a_start_begins_once(asks: httpx.AsyncClient, database_url: str) -> None:
    body = {"type": "checkout", "input": {"b": 1, "a": "é"}}
    first = await asks.put("/v1/sagas/order-7", json=body)
    again = await asks.put("/v1/sagas/order-7", json=body)
    assert (first.status_code, first.json()) == (201, {"id": "order-7", "created": True})
    assert (again.status_code, again.json()) == (200, {"id": "order-7", "created": False})
    other = await asks.put("/v1/sagas/order-7", json={**body, "input": {"b": 2}})
    assert (other.status_code, other.json()["type"]) == (409, "urn:amends:saga-id-taken")
    assert other.headers["content-type"] == "application/problem+json"
    assert ask(database_url, "SELECT version, input FROM amends.sagas") == [(1, '{"a":"é","b":1}')]
    assert ask(database_url, "SELECT count(*) FROM amends.outbox") == [(1,)]


@pytest.mark.parametrize("id", ["order/7", "é ü", "100%", "a%2Fb", "?#&=", "..", "漢字", "%"])
async def test_any_id_can_be_said(asks: httpx.AsyncClient, id: str) -> None:
    path = "".join(f"%{byte:02X}" for byte in id.encode())
    await started(asks, path)
    assert (await asks.get(f"/v1/sagas/{path}")).json()["id"] == id
    assert [row["id"] for row in (await asks.get("/v1/sagas")).json()["sagas"]] == [id]


@pytest.mark.parametrize("path", ["%FF", "a%00b", "a" * 201, "%C3%28", "%0A"])
async def test_an_id_that_cant_be_is_refused(asks: httpx.AsyncClient, path: str) -> None:
    assert (await asks.put(f"/v1/sagas/{path}", json={"type": "checkout"})).status_code == 422
    assert (await asks.get(f"/v1/sagas/{path}")).status_code == 422


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"{}", b'{"type": ""}', b'{"type": 7}', b'{"type": "t", "more": 1}',
        b'{"type": "t", "input": NaN}', b'{"type": "t", "input": 1e999}', b'{"type": "t", "input": "\\ud800"}',
        b'{"type": "t", "input": "\\u0000"}', b'{"type": "t\\u0000"}', b'{"type": "t", "version": 0}',
        b'{"type": "t", "version": 99999999999999999999}', b"\xff", b'{"type": "t", "input": ' + b"[" * 50_000,
        b'{"type": "t", "input": ' + b"9" * 5_000 + b"}",
    ],
)  # fmt: skip
async def test_a_body_that_cant_be_starts_nothing(asks: httpx.AsyncClient, database_url: str, content: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await asks.put("/v1/sagas/order-7", content=content, headers=headers)
    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert "Nothing was changed." in answer.json()["detail"]
    assert ask(database_url, "SELECT 1 FROM amends.sagas") == []


async def test_only_json_changes_something(asks: httpx.AsyncClient, database_url: str) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonx"):
        answer = await asks.put("/v1/sagas/a", content=b'{"type": "t"}', headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["type"]) == (415, "urn:amends:not-json")
    assert (await asks.put("/v1/sagas/a", content=b'{"type": "t"}')).status_code == 415
    assert ask(database_url, "SELECT 1 FROM amends.sagas") == []


async def test_a_body_that_streams_is_counted(asks: httpx.AsyncClient, database_url: str) -> None:
    async def flood() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * (limits.BODY_BYTES_MAX // 50)

    answer = await asks.put("/v1/sagas/a", content=flood(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:amends:too-large")
    assert ask(database_url, "SELECT 1 FROM amends.sagas") == []


async def test_with_the_code_at_hand_the_input_is_checked(make_api: Callable[..., Api], database_url: str) -> None:
    api = make_api(app=App(sagas=[greeting]), client=None)
    transport = httpx.ASGITransport(api)
    async with (
        api.running(),
        httpx.AsyncClient(transport=transport, base_url="http://amends", headers=ADA) as asks,
    ):
        wrong = await asks.put("/v1/sagas/h", json={"type": "greeting", "input": {"x": 1}})
        assert (wrong.status_code, "this is no input for greeting" in wrong.json()["detail"]) == (422, True)
        assert (await asks.put("/v1/sagas/h", json={"type": "greeting", "input": "Ada"})).status_code == 201
        other = await asks.put("/v1/sagas/i", json={"type": "greeting", "version": 9, "input": "Ada"})
        assert (other.status_code, "no saga greeting version 9" in other.json()["detail"]) == (422, True)
        assert (await asks.put("/v1/sagas/j", json={"type": "of another app"})).status_code == 201
    assert ask(database_url, "SELECT input FROM amends.sagas WHERE id = 'h'") == [('"Ada"',)]


async def test_the_list_filters_and_pages(asks: httpx.AsyncClient, database_url: str) -> None:
    for name in ("a", "b", "c"):
        await started(asks, name, type="checkout" if name != "c" else "dispatch")
    ended(database_url, "b", "completed")
    ask(database_url, "UPDATE amends.sagas SET started_at = now() - interval '3 hours' WHERE id = 'a'")

    async def ids(query: str) -> list[str]:
        answer = await asks.get(f"/v1/sagas?{query}")
        assert answer.status_code == 200, answer.text
        return [row["id"] for row in answer.json()["sagas"]]

    assert await ids("") == ["c", "b", "a"]
    assert await ids("status=completed&status=queued&type=checkout") == ["b", "a"]
    assert await ids("contains=b") == ["b"]
    assert await ids("older_than_s=3600") == ["a"]
    first = (await asks.get("/v1/sagas?limit=2")).json()
    rest = (await asks.get("/v1/sagas", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [row["id"] for row in first["sagas"] + rest["sagas"]] == ["c", "b", "a"]
    assert rest["next_cursor"] is None
    for query in ("status=happy", "limit=0", "limit=1001", "cursor=x", "older_than_s=-1", "older_than_s=nan", "type="):
        assert (await asks.get(f"/v1/sagas?{query}")).status_code == 422, query


async def test_a_saga_with_what_it_did(asks: httpx.AsyncClient, database_url: str) -> None:
    await started(asks)
    made_stuck(database_url)
    saga_row = (await asks.get("/v1/sagas/order-7")).json()
    assert (saga_row["status"], saga_row["error"], saga_row["input"]) == ("stuck", "Declined()", {"n": 1})
    assert saga_row["ops"] == [
        {
            "seq": 0, "kind": "call", "name": "ReserveStock", "state": "succeeded", "attempts": 1, "was_unknown": False,
            "undo": {"state": "failed", "attempts": 1, "error": "Declined()"}, "child_id": None,
        },
        {
            "seq": 1, "kind": "call", "name": "ChargeCard", "state": "failed", "attempts": 1, "was_unknown": False,
            "undo": None, "child_id": None,
        },
    ]  # fmt: skip
    assert (saga_row["pivot_seq"], saga_row["seams"], saga_row["deadline"]) == (None, [], None)
    assert (await asks.get("/v1/sagas/order-8")).status_code == 404


async def test_seams_and_workers_come_from_takeovers(asks: httpx.AsyncClient, database_url: str) -> None:
    await started(asks)
    journaled(database_url, "order-7", STARTED, REPLIED)
    [(shard,)] = ask(database_url, "SELECT shard FROM amends.sagas")
    ask(database_url, "UPDATE amends.sagas SET started_at = to_timestamp(%s)", BEGAN / S - 0.1)
    owners = ((1, "first", BEGAN / S - 9), (2, "second", BEGAN / S + 0.5), (3, "third", BEGAN / S + 7))
    for epoch, name, at_s in owners:
        insert = "INSERT INTO amends.takeovers (shard, epoch, name, at) VALUES (%s, %s, %s, to_timestamp(%s))"
        ask(database_url, insert, shard, epoch, name, at_s)
    ask(database_url, "UPDATE amends.journal SET wake_us = %s WHERE pos = 1", BEGAN + 60 * S)
    found = (await asks.get("/v1/sagas/order-7")).json()
    told = [(seam["takeover_id"], seam["seq"], seam["worker"]) for seam in found["seams"]]
    assert told == [(f"{shard}-2", 0, "second"), (f"{shard}-3", 1, "third")]
    assert found["deadline"] == "2026-01-01T00:01:00Z"
    assert found["waiting_for"] == ["call ChargeCard"]
    trace = (await asks.get("/v1/sagas/order-7/trace")).json()["attempts"]
    assert [(one["op"], one["worker"]) for one in trace] == [
        ("call ReserveStock", "first"),
        ("call ChargeCard", "second"),
    ]


async def test_the_trace_has_every_attempt(asks: httpx.AsyncClient, database_url: str) -> None:
    await started(asks)
    made_stuck(database_url)
    attempts = (await asks.get("/v1/sagas/order-7/trace")).json()["attempts"]
    assert [(one["op"], one["undo_of"], one["outcome"], one["note"]) for one in attempts] == [
        ("call ReserveStock", None, "succeeded", ""),
        ("call ChargeCard", None, "failed", "Declined()"),
        ("undo of call ReserveStock", 0, "failed", "Declined()"),
    ]
    assert attempts[1]["from"] == "2026-01-01T00:00:01Z"
    assert attempts[1]["to"] == "2026-01-01T00:00:02Z"


async def test_the_journal_comes_in_pages(
    asks: httpx.AsyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await started(asks)
    assert (await asks.get("/v1/sagas/order-7/journal")).json() == {"turns": [], "next_pos": None}
    made_stuck(database_url)
    first = (await asks.get("/v1/sagas/order-7/journal?limit=3")).json()
    assert [turn["pos"] for turn in first["turns"]] == [0, 1, 2]
    assert first["turns"][0]["body"] == STARTED
    last = (await asks.get(f"/v1/sagas/order-7/journal?from_pos={first['next_pos']}")).json()
    assert ([turn["pos"] for turn in last["turns"]], last["next_pos"]) == ([3], None)
    monkeypatch.setattr(limits, "JOURNAL_BYTES_MAX", 1)
    small = (await asks.get("/v1/sagas/order-7/journal")).json()
    assert ([turn["pos"] for turn in small["turns"]], small["next_pos"]) == ([0], 1)
    assert (await asks.get("/v1/sagas/nobody/journal")).status_code == 404


async def test_values(asks: httpx.AsyncClient, database_url: str) -> None:
    await started(asks)
    insert = "INSERT INTO amends.saga_values SELECT saga_no, 'at/home', 0, 0, '{\"n\": [1]}' FROM amends.sagas"
    ask(database_url, insert)
    assert (await asks.get("/v1/sagas/order-7/values/at%2Fhome")).json() == {"key": "at/home", "value": {"n": [1]}}
    assert (await asks.get("/v1/sagas/order-7/values/other")).json() == {"key": "other", "value": None}
    assert (await asks.get("/v1/sagas/order-8/values/other")).status_code == 404


async def test_a_message_is_sent_once(asks: httpx.AsyncClient, database_url: str) -> None:
    body = {"type": "TestSettled", "body": {"reference": "r1"}, "message_id": "webhook-1", "channel": "card"}
    for _ in range(2):
        answer = await asks.post("/v1/sagas/order-7/messages", json=body)
        assert (answer.status_code, answer.json()["id"]) == (202, "order-7")
    found = ask(database_url, "SELECT type, channel, payload, id FROM amends.outbox WHERE kind = 'message'")
    assert len({row[3] for row in found}) == 1, "by its id the saga knows that the second is none"
    assert [(row[0], row[1], avro.decode(row[2])) for row in found] == [
        (Settled.__wire_name__, "card", {"reference": "r1"})
    ] * 2
    unknown = await asks.post("/v1/sagas/order-7/messages", json={"type": "Nobodys", "body": {}})
    assert (unknown.status_code, "no message Nobodys is known" in unknown.json()["detail"]) == (422, True)
    outside = await asks.post("/v1/sagas/order-7/messages", json={"type": "../../etc/passwd", "body": {}})
    assert outside.status_code == 422
    wrong = await asks.post("/v1/sagas/order-7/messages", json={"type": "TestSettled", "body": {"x": 1}})
    assert (wrong.status_code, "this is no TestSettled" in wrong.json()["detail"]) == (422, True)


async def test_a_verb_says_who_logged_in_and_whose_token_it_was(asks: httpx.AsyncClient, database_url: str) -> None:
    await started(asks)
    given = await asks.post("/v1/sagas/order-7/verbs", json={"verb": "terminate", "note": "a test order"})
    assert given.status_code == 202
    verb_no = given.json()["verb_no"]
    by = f"{login_of('person')}/ada"
    assert ask(database_url, "SELECT verb, note, given_by FROM amends.verbs") == [("terminate", "a test order", by)]
    one = (await asks.get(f"/v1/verbs/{verb_no}")).json()
    assert (one["given_by"], one["outcome"], one["done_at"]) == (by, None, None)
    assert (await asks.get("/v1/sagas/order-7/verbs")).json() == {"verbs": [one]}
    missing = await asks.get("/v1/verbs/4711")
    assert (missing.status_code, missing.json()["type"]) == (404, "urn:amends:verb-not-found")


async def test_the_verbs_of_all_sagas_are_listed_the_newest_first_in_pages(asks: httpx.AsyncClient) -> None:
    for number in range(5):
        await asks.put(f"/v1/sagas/s-{number}", json={"type": "checkout"})
        await asks.post(f"/v1/sagas/s-{number}/verbs", json={"verb": "terminate", "note": f"no {number}"})
    first = (await asks.get("/v1/verbs", params={"limit": 3})).json()
    assert [(one["saga_id"], one["note"]) for one in first["verbs"]] == [(f"s-{n}", f"no {n}") for n in (4, 3, 2)]
    second = (await asks.get("/v1/verbs", params={"limit": 3, "before": first["next_before"]})).json()
    assert [one["saga_id"] for one in second["verbs"]] == ["s-1", "s-0"]
    assert second["next_before"] is None
    assert (await asks.get("/v1/verbs", params={"before": 0})).status_code == 422


async def test_a_verb_that_cant_be(asks: httpx.AsyncClient, database_url: str) -> None:
    await started(asks)
    noteless = await asks.post("/v1/sagas/order-7/verbs", json={"verb": "skip"})
    assert (noteless.status_code, "a note can't be empty" in noteless.json()["detail"]) == (422, True)
    assert (await asks.post("/v1/sagas/order-7/verbs", json={"verb": "explode"})).status_code == 422
    assert (await asks.post("/v1/sagas/order-8/verbs", json={"verb": "cancel"})).status_code == 404
    ended(database_url, "order-7", "completed")
    over = await asks.post("/v1/sagas/order-7/verbs", json={"verb": "cancel"})
    assert (over.status_code, over.json()["type"]) == (409, "urn:amends:saga-ended")
    read = await asks.post("/v1/sagas/order-7/verbs", json={"verb": "cancel"}, headers=BOB)
    assert (read.status_code, read.json()["type"]) == (403, "urn:amends:forbidden")
    assert ask(database_url, "SELECT 1 FROM amends.verbs") == []


async def test_the_desk_says_what_each_verb_would_leave(asks: httpx.AsyncClient, database_url: str) -> None:
    await started(asks)
    made_stuck(database_url)
    await asks.post("/v1/sagas/order-7/verbs", json={"verb": "retry"})
    desk = (await asks.get("/v1/sagas/order-7/desk")).json()
    assert (desk["phase"], desk["why"], desk["next"]) == ("undoing", "Declined()", ["undo of call ReserveStock"])
    assert desk["since"] is not None
    assert [one["name"] for one in desk["standing"]] == ["ReserveStock"]
    previews = {one["verb"]: one for one in desk["verbs"]}
    assert [verb for verb, one in previews.items() if one["fits"]] == ["terminate", "retry", "skip", "fail"]
    assert previews["skip"]["left"] == previews["fail"]["left"] == ["call ReserveStock"]
    assert previews["retry"]["left"] == []
    assert [one["verb"] for one in desk["audit"]] == ["retry"]


async def test_the_outbox(asks: httpx.AsyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = (await asks.get("/v1/outbox")).json()
    assert (empty["waiting"], empty["oldest_age_s"], empty["dead"], empty["next_after"]) == (0, None, 0, None)
    for name in ("a", "b", "c"):
        await started(asks, name)
    columns = 'seq, id, aggregatetype, aggregateid, type, payload, "timestamp", partition, kind, saga_id'
    ask(
        database_url,
        f"WITH gone AS (DELETE FROM amends.outbox WHERE saga_id <> 'a' RETURNING {columns}) "
        f"INSERT INTO amends.outbox_dead ({columns}, scope, error) SELECT {columns}, 'key', 'too large' FROM gone",
    )
    monkeypatch.setattr(limits, "DEAD_ROWS_MAX", 1)
    found = (await asks.get("/v1/outbox")).json()
    assert (found["waiting"], found["dead"], len(found["partitions"])) == (1, 2, 1)
    assert found["oldest_age_s"] >= 0
    assert [row["key"] for row in found["dead_rows"]] == ["b"]
    rest = (await asks.get(f"/v1/outbox?after={found['next_after']}")).json()
    assert ([row["key"] for row in rest["dead_rows"]], rest["next_after"]) == (["c"], None)


async def test_breakers_are_those_of_the_databases_it_was_given(asks: httpx.AsyncClient, database_url: str) -> None:
    ask(
        database_url,
        "INSERT INTO amends.breakers (participant, name, state, opened_at, reopens_at, trial_until) VALUES "
        "('payments', 'a', 'closed', NULL, NULL, NULL), ('payments', 'b', 'open', now(), now(), NULL), "
        "('payments', 'c', 'open', now(), now(), now() + interval '1 hour')",
    )
    services = {one["name"]: one for one in (await asks.get("/v1/breakers")).json()["services"]}
    assert [(one["name"], one["state"]) for one in services["shop"]["breakers"]] == [
        ("a", "closed"),
        ("b", "open"),
        ("c", "half_open"),
    ]
    assert services["gone"]["breakers"] == []
    assert "no connection to postgresql://127.0.0.1:1/gone" in services["gone"]["error"]


async def test_workers_and_shards(asks: httpx.AsyncClient, database_url: str) -> None:
    worker = "11111111-1111-1111-1111-111111111111"
    ask(database_url, "INSERT INTO amends.workers (worker, name, pid) VALUES (%s, 'w1', 7)", worker)
    ask(database_url, "UPDATE amends.shards SET owner = gen_random_uuid(), worker = %s WHERE shard = 0", worker)
    [row] = (await asks.get("/v1/workers")).json()["workers"]
    assert (row["worker"], row["name"], row["pid"], row["draining"]) == (worker, "w1", 7, False)
    shards = (await asks.get("/v1/shards")).json()["shards"]
    assert [(one["shard"], one["owner"]) for one in shards] == [(0, "w1"), (1, None), (2, None), (3, None)]


async def test_health_needs_no_token(asks: httpx.AsyncClient) -> None:
    answer = await asks.get("/v1/health", headers={"Authorization": ""})
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_a_caller_is_told_who_he_is(asks: httpx.AsyncClient) -> None:
    assert (await asks.get("/v1/caller")).json() == {"name": "ada", "role": "operate"}
    assert (await asks.get("/v1/caller", headers=BOB)).json() == {"name": "bob", "role": "read"}
    assert (await asks.get("/v1/caller", headers={"Authorization": ""})).status_code == 401


async def test_whoever_may_read_reads_all(asks: httpx.AsyncClient) -> None:
    await started(asks)
    paths = ("sagas", "sagas/order-7", "sagas/order-7/journal", "sagas/order-7/trace", "sagas/order-7/desk", "outbox",
             "sagas/order-7/verbs", "verbs", "sagas/order-7/values/x", "workers", "shards", "openapi.json")  # fmt: skip
    for path in paths:
        assert (await asks.get(f"/v1/{path}", headers=BOB)).status_code == 200, path
        assert (await asks.get(f"/v1/{path}", headers={"Authorization": "Bearer C"})).status_code == 401, path
    assert (await asks.put("/v1/sagas/order-8", json={"type": "checkout"}, headers=BOB)).status_code == 403


async def test_what_is_not_there(asks: httpx.AsyncClient) -> None:
    missing = await asks.get("/v1/nothing")
    assert (missing.status_code, missing.json()["type"]) == (404, "urn:amends:not-found")
    method = await asks.delete("/v1/sagas/order-7")
    assert (method.status_code, method.json()["type"]) == (405, "urn:amends:method-not-allowed")
    assert method.headers["allow"] == "GET, PUT"
    assert (await asks.get("/v1/sagas/order-7/messages")).headers["allow"] == "POST"


async def test_a_bug_says_nothing_of_its_inside(asks: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: Any, **__: Any) -> Any:
        raise ValueError("password=hunter2")

    monkeypatch.setattr(Client, "list", breaks)
    answer = await asks.get("/v1/sagas")
    assert (answer.status_code, answer.json()["type"]) == (500, "urn:amends:bug")
    assert "hunter2" not in answer.text


async def test_it_can_be_mounted_in_an_app_of_ones_own(make_api: Callable[..., Api], database_url: str) -> None:
    api = make_api()
    outer = FastAPI(lifespan=lambda _: api.running())
    outer.mount("/amends", api)
    async with outer.router.lifespan_context(outer):
        transport = httpx.ASGITransport(outer)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop.example", headers=ADA) as asks:
            path = "/amends/v1/sagas/order%2F7"
            assert (await asks.put(path, json={"type": "checkout"})).status_code == 201
            assert (await asks.get(path)).json()["id"] == "order/7"
            assert (await asks.get("/amends/v1/health", headers={"Authorization": ""})).status_code == 200
            assert (await asks.get("/amends/v1/sagas", headers={"Authorization": ""})).status_code == 401
            assert (await asks.get("/amends/v1/breakers")).status_code == 200
    eventually(lambda: sessions(database_url) == 0, 10, "it has closed its own clients")


def sessions(database_url: str) -> int:
    """Of others, in this database."""
    others = """
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
    """
    with psycopg.connect(database_url) as connection:
        [(count,)] = connection.execute(others).fetchall()
    return int(count)
