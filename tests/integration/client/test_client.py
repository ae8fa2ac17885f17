"""Send, result, get, describe and the verbs, against rows as the engine writes them."""

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from orchestrator.client import Client, SyncClient, requests
from orchestrator.client.requests import Steps
from orchestrator.client.statements import Query
from orchestrator.errors import DependencyError, Failure, RequestError, SagaFailed, SagaNotFound, TimedOut
from orchestrator.messaging import avro
from orchestrator.problems import problem_of
from orchestrator.settings import Settings
from tests.deadlines import deadline, eventually
from tests.integration.client.fake_type import checkout, dispatch
from tests.integration.client.sagas import Order, Receipt, Settled, ended, journaled
from tests.roles import as_role

ORDER = Order(order_id="7")


class NoStock(Failure):
    item: str


@pytest.fixture
def settings(database_url: str) -> Settings:
    """Of an application that also looks into its sagas and gives them verbs: it is at the console, too."""
    return Settings(database_url=as_role(database_url, "person"))  # type: ignore[arg-type]


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Client]:
    async with Client(settings) as opened:
        yield opened


def ask(url: str, sql: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(sql.encode()).fetchall()


async def test_a_message_is_an_outbox_row_with_an_id_of_its_own_per_saga(client: Client, database_url: str) -> None:
    await client.start(checkout, ORDER, id="order-7")
    await client.send("order-7", Settled(reference="r1"), channel="card", message_id="delivery-1")
    await client.send("order-7", Settled(reference="r1"), message_id="delivery-1")
    [first, second] = ask(
        database_url,
        "SELECT id, aggregateid, type, channel, partition, payload, saga_id FROM amends.outbox WHERE kind = 'message'",
    )
    assert first[0] == second[0] == uuid.uuid5(uuid.NAMESPACE_URL, "amends:order-7:delivery-1")
    assert first[1:4] == ("order-7", "TestSettled", "card")
    assert (second[3], second[6]) == (None, "order-7")
    assert [(first[4],)] == ask(database_url, "SELECT shard FROM amends.sagas")
    assert avro.decode(first[5]) == {"reference": "r1"}


async def test_a_message_may_come_before_its_saga(client: Client, database_url: str) -> None:
    await client.send("order-8", Settled(reference="r1"))
    assert ask(database_url, "SELECT aggregateid FROM amends.outbox") == [("order-8",)]


async def test_result_waits_for_the_end(client: Client, database_url: str) -> None:
    await client.start(checkout, ORDER, id="order-7")
    waiting = asyncio.create_task(client.result(checkout, "order-7"))
    await asyncio.to_thread(ended, database_url, "order-7", "completed", result={"order_id": "7"})
    assert await waiting == Receipt(order_id="7")


def test_run_is_start_and_result(settings: Settings, database_url: str) -> None:
    found: list[Receipt] = []
    with SyncClient(settings) as client:
        thread = threading.Thread(
            target=lambda: found.append(client.run(checkout, ORDER, id="order-7", timeout=deadline(20)))
        )
        thread.start()
        while not ask(database_url, "SELECT 1 FROM amends.sagas"):
            pass
        ended(database_url, "order-7", "completed", result={"order_id": "7"})
        thread.join()
    assert found == [Receipt(order_id="7")]


async def test_a_timeout_only_stops_the_waiting(client: Client, settings: Settings) -> None:
    await client.start(checkout, ORDER, id="order-7")
    with pytest.raises(TimedOut, match="order-7 has not ended within"):
        await client.result(checkout, "order-7", timeout=0.1)
    with SyncClient(settings) as sync, pytest.raises(TimeoutError):
        sync.result(checkout, "order-7", timeout=0.1)


async def test_a_failure_comes_out_as_its_class(client: Client, database_url: str) -> None:
    await client.start(checkout, ORDER, id="order-7")
    ended(database_url, "order-7", "failed", problem=problem_of(NoStock(item="pan")).to_json())
    with pytest.raises(NoStock) as caught:
        await client.result(checkout, "order-7")
    assert caught.value.item == "pan"  # type: ignore[attr-defined]


async def test_a_failure_that_left_something_undone_is_no_definite_no(client: Client, database_url: str) -> None:
    await client.start(checkout, ORDER, id="order-7")
    problem = problem_of(NoStock(item="pan")).to_json()
    ended(database_url, "order-7", "failed", problem=problem, left=["ChargeCard"])
    with pytest.raises(SagaFailed, match="saga order-7 failed: NoStock") as caught:
        await client.result(checkout, "order-7")
    assert caught.value.left_undone == ("ChargeCard",)


@pytest.mark.parametrize(
    ("status", "problem", "said"),
    [
        ("failed", ValueError("bad"), "failed: ValueError: bad"),
        ("cancelled", None, "cancelled: CancelledError"),
        ("terminated", None, "terminated: Terminated"),
    ],
)
async def test_every_other_end_is_a_saga_failed(
    client: Client, database_url: str, status: str, problem: Exception | None, said: str
) -> None:
    await client.start(checkout, ORDER, id="order-7")
    ended(database_url, "order-7", status, problem=problem and problem_of(problem).to_json())
    with pytest.raises(SagaFailed, match=said) as caught:
        await client.result(checkout, "order-7")
    assert (caught.value.status, caught.value.saga_id) == (status, "order-7")


async def test_a_result_of_another_type_is_refused(client: Client) -> None:
    await client.start(checkout, ORDER, id="order-7")
    with pytest.raises(RequestError, match="is a checkout, not a dispatch"):
        await client.result(dispatch, "order-7")


async def test_get_is_the_value_last_set(client: Client, database_url: str) -> None:
    await client.start(checkout, ORDER, id="order-7")
    assert await client.get("order-7", "status", str) is None
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO amends.saga_values (saga_no, key, pos, n, value) SELECT saga_no, v.* FROM amends.sagas,"
            " (VALUES ('status', 1, 1, '\"old\"'), ('status', 2, 1, '\"new\"'), ('n', 9, 1, '3')) v"
        )
    assert await client.get("order-7", "status", str) == "new"
    assert await client.get("order-7", "n", int) == 3
    with pytest.raises(SagaNotFound):
        await client.get("order-8", "status", str)


async def test_describe_tells_what_it_waits_for(client: Client, database_url: str) -> None:
    await client.start(checkout, ORDER, id="order-7")
    call = {"op": "call", "seq": 0, "name": "ReserveStock", "service": "stock", "body": {}}
    journaled(
        database_url,
        "order-7",
        [{"in": "started", "at": 1_000_000, "input": {}}, call],
        [
            {"in": "replied", "at": 2_000_000, "seq": 0},
            {"op": "call", "seq": 1, "name": "ChargeCard", "service": "payments", "body": {}},
            {"op": "receive", "seq": 2, "name": "PaymentSettled"},
        ],
    )
    found = await client.describe("order-7")
    assert (found.id, found.type, found.version, found.status) == ("order-7", "checkout", 3, "queued")
    assert found.waiting_for == ("call ChargeCard", "receive PaymentSettled")
    assert (found.ended_at, found.error, found.values) == (None, None, {})


async def test_verbs_are_rows_with_their_saga(client: Client, database_url: str) -> None:
    await client.start(checkout, ORDER, id="order-7")
    await client.cancel("order-7")
    await client.terminate("order-7", note="ordered twice")
    await client.retry("order-7")
    await client.skip("order-7", note="refunded by hand")
    await client.fail("order-7", note="no use")
    await client.unblock("order-7")
    rows = ask(
        database_url,
        "SELECT v.verb, v.note, v.shard = s.shard FROM amends.verbs v JOIN amends.sagas s ON s.id = v.saga_id"
        " ORDER BY verb_no",
    )
    assert rows == [
        ("cancel", "", True),
        ("terminate", "ordered twice", True),
        ("retry", "", True),
        ("skip", "refunded by hand", True),
        ("fail", "no use", True),
        ("unblock", "", True),
    ]


async def test_verbs_for_no_saga_or_an_ended_one_are_refused(client: Client, database_url: str) -> None:
    with pytest.raises(SagaNotFound, match=r"order-7.*amends ls"):
        await client.cancel("order-7")
    await client.start(checkout, ORDER, id="order-7")
    with pytest.raises(RequestError, match="a note can't be empty"):
        await client.terminate("order-7", note="")
    ended(database_url, "order-7", "completed")
    with pytest.raises(RequestError, match=r"has ended \(completed\): there is nothing to retry"):
        await client.retry("order-7")


def test_a_client_outlives_its_event_loop_and_a_server_that_dropped_its_connections(
    settings: Settings, stack: Any
) -> None:
    client = Client(settings)
    asyncio.run(client.start(checkout, ORDER, id="order-7"))

    async def twice() -> bool | None:
        await client.describe("order-7")
        with psycopg.connect(stack.database_url, autocommit=True) as admin:
            name = settings.database_url.get_secret_value().rpartition("/")[2]
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            there = "SELECT 1 FROM pg_stat_activity WHERE datname = %s"
            eventually(lambda: not admin.execute(there, [name]).fetchall(), 10, "all sessions have ended")
        async with client:
            return (await client.start(checkout, ORDER, id="order-7")).created

    assert asyncio.run(twice()) is False


async def test_a_client_that_is_not_at_the_console_starts_and_waits_and_is_told_what_it_may_not(
    database_url: str,
) -> None:
    async with Client(Settings(database_url=as_role(database_url, "client"))) as client:  # type: ignore[arg-type]
        await client.start(dispatch, "x", id="order-7")
        for request in (client.cancel("order-7"), client.describe("order-7")):
            with pytest.raises(DependencyError, match=r"permission denied for .*docs/operations/roles\.md"):
                await request
        ended(database_url, "order-7", "completed", result="gone")
        assert await client.result(dispatch, "order-7") == "gone"


async def test_what_is_read_at_once_is_of_one_instant(client: Client, database_url: str) -> None:
    """Somebody commits between two statements of a request, and it sees what it saw."""

    def asks_twice() -> Steps[list[int]]:
        count = Query("SELECT count(*) FROM amends.sagas")
        first = yield count
        with SyncClient(Settings(database_url=as_role(database_url, "client"))) as other:  # type: ignore[arg-type]
            other.start(checkout, ORDER, id="order-7")
        second = yield count
        return [first[0][0], second[0][0]]

    assert await client.read_at_once(asks_twice()) == [0, 0]
    assert ask(database_url, "SELECT count(*) FROM amends.sagas") == [(1,)]


async def test_what_is_read_at_once_writes_nothing(client: Client) -> None:
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        await client.read_at_once(requests.start("checkout", 1, "{}", "order-7", ""))


def test_a_client_that_was_closed_opens_again(settings: Settings) -> None:
    client = SyncClient(settings)
    for _ in range(2):
        assert client.list().sagas == ()
        client.close()
