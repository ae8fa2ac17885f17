"""The floor on a real stack: every button does what it says to a real process, and the books show what comes of it."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from orchestrator.local import ports
from orchestrator.local.background import down, up_in_background
from orchestrator.local.control import Control
from orchestrator.local.paths import VarDir
from orchestrator.local.processes import identify
from services.floor import limits
from services.play import NAMES
from tests.deadlines import deadline
from tests.integration.services.floor_page import Page, page_of

pytestmark = [pytest.mark.serial, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def var(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The stack of `make up`, in a directory of this test's own."""
    patch = pytest.MonkeyPatch()
    for name in ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS"):
        patch.delenv(name, raising=False)
    root = tmp_path_factory.mktemp("floor") / "var"
    try:
        up_in_background(root, progress=print, watched_pid=os.getpid(), services=("setup", *NAMES))
        yield root
    finally:
        down(root)
        patch.undo()


@pytest.fixture(scope="module")
def url(var: Path) -> str:
    return f"http://127.0.0.1:{ports.read(VarDir.at(var).ports)['floor']}"


@pytest.fixture
async def page(url: str) -> AsyncIterator[Page]:
    async with page_of(url) as page:
        yield page


async def test_the_first_event_is_all_of_it_and_then_comes_what_changes(page: Page) -> None:
    assert page.names == ["all"]
    assert set(page.plugs) >= {"orchestrator-1", "orchestrator-2", "relay", "orders", "stock", "payments", "kafka"}
    assert {plug["state"] for plug in page.plugs.values()} == {"up"}
    assert (page.mode, page.breaker["state"], page.breaker["fail_max"]) == ("well", "closed", 5)
    assert len(page.pace) == limits.PACE_POINTS_MAX
    order_id = await page.order(customer="Wei Ling", dishes=[{"sku": "roti canai", "quantity": 3}])
    book = await page.until(
        lambda: page.books.get(order_id, {}).get("stock", {}).get("out") == 3 and page.books[order_id], 20, "it is read"
    )
    assert (book["customer"], book["order"]["owed"], book["order"]["status"]) == ("Wei Ling", "13.50", "open")
    await page.until(lambda: any(point["forward"] for point in page.pace), 10, "steps are counted")


async def test_who_pays_gets_the_meal_and_the_books_are_even_all_the_time(page: Page) -> None:
    order_id = await page.order()
    await answered(page, order_id, "pay", "paid")
    book = await page.ended(order_id, "delivered")
    assert book["gateway"]["taken"] == book["order"]["owed"]
    assert (book["gateway"]["back"], book["open"]) == ("0.00", "0.00")
    assert page.adrift == {"0.00"}
    refused = await page.press(f"/orders/{order_id}/answer", {"answer": "refuse"}, expects=409)
    assert "is paid. Nothing was changed." in refused["detail"]


async def test_who_refuses_has_nothing_taken_and_the_dishes_are_back(page: Page) -> None:
    order_id = await page.order(dishes=[{"sku": "satay", "quantity": 2}])
    await answered(page, order_id, "refuse", "refused")
    book = await page.ended(order_id, "cancelled")
    assert (book["gateway"]["taken"], book["stock"]) == ("0.00", {"out": 2, "back": 2})
    assert book["order"]["cancelled"] == book["order"]["owed"] == "36.00"


async def test_what_can_not_be_had_is_called_off(page: Page) -> None:
    book = await page.ended(await page.order(trouble="out_of_stock"), "cancelled")
    assert book["stock"] == {"out": 0, "back": 0}


async def test_a_checkout_that_no_courier_takes_gives_its_money_back(page: Page) -> None:
    book = await page.ended(await page.order(type="checkout", trouble="no_courier"), "cancelled")
    assert book["gateway"]["taken"] == book["gateway"]["back"] == book["order"]["owed"]
    assert len(book["gateway"]["refs"]) == 2
    book = await page.ended(await page.order(type="checkout"), "delivered")
    assert book["gateway"]["taken"] == book["order"]["owed"]
    assert page.adrift == {"0.00"}


async def test_disputed_money_stays_open_with_a_person(page: Page) -> None:
    order_id = await page.order(trouble="dispute")
    await answered(page, order_id, "pay", "disputed")

    async def is_stuck() -> bool:
        saga = (await page.client.get(f"/amends/v1/sagas/{order_id}")).json()
        return bool(saga["status"] == "stuck")

    async with asyncio.timeout(deadline(30)):
        while not await is_stuck():
            await asyncio.sleep(0.1)
    book = page.books[order_id]
    assert (book["order"]["status"], book["open"]) == ("open", book["order"]["owed"])
    assert page.adrift == {"0.00"}


@pytest.mark.parametrize("name", ["relay", "orchestrator-1", "payments"])
async def test_a_killed_process_comes_back_by_itself_and_nothing_is_lost(page: Page, var: Path, name: str) -> None:
    before = (await Control(var).services())[name]
    assert before.pid is not None
    identity = identify(before.pid)
    await page.press(f"/plugs/{name}", {"action": "kill"}, expects=202)
    killed = await page.plug(name, "down")
    assert killed["note"].startswith("killed, starts again at ")
    assert identity is not None
    assert not identity.is_alive()
    order_id = await page.order()
    up = await page.plug(name, "up")
    assert up["since"] > killed["since"]
    assert (await Control(var).services())[name].pid != before.pid
    await answered(page, order_id, "pay", "paid")
    await page.ended(order_id, "delivered")
    assert page.adrift == {"0.00"}


async def test_a_killed_process_is_back_at_once_when_it_is_started(page: Page) -> None:
    await page.press("/plugs/stock", {"action": "kill"}, expects=202)
    await page.plug("stock", "down")
    await page.press("/plugs/stock", {"action": "start"}, expects=202)
    await page.plug("stock", "up", seconds=limits.KILLED_FOR_S / 2)


async def test_what_is_stopped_stays_down_until_it_is_started(page: Page) -> None:
    await page.press("/plugs/payments", {"action": "stop"}, expects=202)
    await page.until(lambda: page.plugs["payments"]["note"].startswith("stopped"), 20, "payments is stopped")
    twice = await page.press("/plugs/payments", {"action": "stop"}, expects=409)
    assert twice["type"] == "urn:amends:floor:not-done"
    order_id = await page.order()
    await page.until(lambda: page.books.get(order_id, {}).get("stock", {}).get("out"), 20, "the dishes are reserved")
    await page.press(f"/orders/{order_id}/answer", {"answer": "pay"}, expects=409)
    await page.press("/plugs/payments", {"action": "start"}, expects=202)
    await page.plug("payments", "up")
    await answered(page, order_id, "pay", "paid")
    await page.ended(order_id, "delivered")


async def test_kafka_stops_in_order_and_starts_and_what_waited_goes_on(page: Page, var: Path) -> None:
    await page.press("/plugs/kafka", {"action": "kill"}, expects=404)
    await page.press("/plugs/kafka", {"action": "stop"}, expects=202)
    await page.until(lambda: page.plugs["kafka"]["note"].startswith("stopped,"), 60, "Kafka is stopped")
    assert (await Control(var).services())["kafka"].code in (0, 143)
    order_id = await page.order()
    await page.until(lambda: page.plugs["relay"]["note"] != "0 waiting", 10, "the order waits in the outbox")
    await page.press("/plugs/kafka", {"action": "start"}, expects=202)
    await page.plug("kafka", "up", seconds=60)
    await answered(page, order_id, "pay", "paid", seconds=60)
    await page.ended(order_id, "delivered", seconds=60)
    assert page.adrift == {"0.00"}


async def test_a_gateway_that_is_down_opens_the_breaker_and_one_that_is_well_closes_it(page: Page) -> None:
    await page.press("/gateway", {"mode": "down"}, expects=200)
    await page.until(lambda: page.mode == "down", 5, "the gateway is down")
    order_ids = [await page.order(type="checkout") for _ in range(8)]
    opened = await page.until(lambda: page.breaker["state"] != "closed" and page.breaker, 30, "the breaker is open")
    assert opened["half_open_at"] is not None
    await page.until(lambda: page.breaker["failed"] >= 5, 10, "the window shows why")
    assert {"failed", "unknown"} & set(page.breaker["window"])
    await page.press("/gateway", {"mode": "well"}, expects=200)
    await page.until(lambda: page.breaker["state"] == "closed", 30, "the breaker is closed again")
    for order_id in order_ids:
        await page.ended(order_id, "delivered", seconds=60)
    assert page.adrift == {"0.00"}


async def test_a_lost_answer_is_shown_as_unknown_until_it_is_looked_up(page: Page) -> None:
    await page.press("/gateway", {"mode": "loses"}, expects=200)
    order_id = await page.order(type="checkout")
    await page.until(lambda: page.books.get(order_id, {}).get("unknown"), 20, "nobody knows")
    await page.press("/gateway", {"mode": "well"}, expects=200)
    book = await page.ended(order_id, "delivered", seconds=30)
    assert not book["unknown"]


async def test_a_stream_places_orders_and_their_customers_pay(page: Page) -> None:
    before = page.totals["orders"]
    await page.press("/stream", {"per_s": 5, "answer": "pays"}, expects=200)
    await page.until(lambda: page.per_s == 5, 5, "the page knows of the stream")
    await page.until(lambda: page.totals["orders"] >= before + 10, 20, "ten orders were placed")
    await page.press("/stream", {"per_s": 0}, expects=200)
    new = list(page.books)[-8:]
    await page.until(
        lambda: sum(page.books[one]["order"]["status"] == "delivered" for one in new) >= 4, 40, "most are delivered"
    )
    assert page.adrift == {"0.00"}


async def test_who_only_listens_is_shown_too(page: Page) -> None:
    order_id = await page.order(customer="Hana")
    await answered(page, order_id, "pay", "paid")
    await page.ended(order_id, "delivered")

    async def heard() -> bool:
        mails = (await page.client.get("/floor/mail", params={"order_id": order_id})).json()
        receipt = await page.client.get(f"/floor/receipts/{order_id}.pdf")
        return len(mails) == 3 and receipt.status_code == 200 and receipt.content.startswith(b"%PDF")

    async with asyncio.timeout(deadline(30)):
        while not await heard():
            await asyncio.sleep(0.2)
    sums = (await page.client.get("/floor/analytics")).json()
    assert sums["orders"] >= 1
    assert float(sums["revenue"]) > 0
    assert (await page.client.get("/floor/receipts/order-0.pdf")).status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/orders", {"dishes": [{"sku": "gold", "quantity": 1}]}, 422, "there are nasi lemak"),
        ("/orders", {"dishes": [{"sku": "satay", "quantity": 0}]}, 422, "greater than or equal to 1"),
        ("/orders", {"colour": "red"}, 422, "Extra inputs are not permitted"),
        ("/stream", {"per_s": 21}, 422, "less than or equal to 20"),
        ("/gateway", {"mode": "sad"}, 422, "'well', 'slow', 'down' or 'loses'"),
        ("/plugs/postgres", {"action": "kill"}, 404, "There is no plug 'postgres'"),
        ("/plugs/relay", {"action": "freeze"}, 422, "'kill', 'stop' or 'start'"),
        ("/orders/order-0/answer", {"answer": "pay"}, 409, "has no payment at the provider"),
        ("/nothing", {}, 404, "Not Found"),
        ("/mail", {}, 405, "Method Not Allowed"),
    ],
)
async def test_what_can_not_be_is_refused_with_its_reason(
    page: Page, path: str, body: object, status: int, said: str
) -> None:
    answer = await page.client.post(f"/floor{path}", json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.json()["detail"]


async def test_the_page_is_served_with_its_policy_and_kept_only_while_it_is_the_same(url: str) -> None:
    async with httpx.AsyncClient(base_url=url) as client:
        page = await client.get("/")
        assert page.headers["content-type"].startswith("text/html")
        assert page.headers["cache-control"] == "no-cache"
        assert "script-src 'self'" in page.headers["content-security-policy"]
        again = await client.get("/", headers={"if-none-match": page.headers["etag"]})
        assert again.status_code == 304
        assert (await client.get("/../world.py")).status_code == 404
        assert (await client.get("/%2e%2e/world.py")).status_code == 404


async def test_the_products_api_is_under_amends_with_its_own_guard(url: str) -> None:
    async with httpx.AsyncClient(base_url=url) as client:
        listed = await client.get("/amends/v1/sagas", params={"limit": 1})
        assert listed.status_code == 200
        assert "sagas" in listed.json()
        breakers = (await client.get("/amends/v1/breakers")).json()
        assert "payments" in {service["name"] for service in breakers["services"]}
        assert (await client.get("/amends/v1/sagas", headers={"host": "shop.example"})).status_code == 403


async def test_only_so_many_pages_may_listen(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=deadline(15)) as client:
        streams = [client.stream("GET", "/floor/events") for _ in range(limits.STREAMS_MAX + 1)]
        opened = [await one.__aenter__() for one in streams]
        try:
            statuses = [answer.status_code for answer in opened]
        finally:
            for one in streams:
                await one.__aexit__(None, None, None)
    assert statuses.count(503) >= 1
    assert statuses.count(200) <= limits.STREAMS_MAX


async def answered(page: Page, order_id: str, answer: str, now: str, seconds: float = 30) -> None:
    """Answer at the provider as soon as the payment is there."""
    async with asyncio.timeout(deadline(seconds)):
        while True:
            got = await page.client.post(f"/floor/orders/{order_id}/answer", json={"answer": answer})
            if got.status_code == 200:
                break
            assert got.status_code == 409, got.text
            await asyncio.sleep(0.1)
    assert got.json()["now"] == now
