"""Who listens is told what has changed, once, however slowly he reads; and a minute has sixty points."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from services.floor import limits, listeners
from services.floor.ledger import OrderRow
from services.floor.listeners import Listeners, stream
from services.floor.pace import Pace
from services.floor.picture import STREAM, Picture

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def put(picture: Picture, order_id: str, cents: int) -> None:
    picture.ledger.order(OrderRow(order_id, "Ada", cents, NOON, is_delivered=False, is_cancelled=False))
    picture.ledger.settle()


async def test_a_slow_reader_hears_the_latest_of_each_order_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "READ_S", 0)
    all_of_them, picture = Listeners(), Picture()
    put(picture, "order-1", 100)
    with all_of_them.one_more() as listener:
        sent = stream(listener, picture)
        first = (await anext(sent)).decode()
        assert first.startswith("event: all\n")
        for cents in range(200, 300):
            put(picture, "order-1", cents)
            all_of_them.tell([("book", "order-1"), STREAM])
        patches = (await anext(sent)).decode().split("\n\n")[:-1]
        await sent.aclose()
    names = [patch.split("\n")[0] for patch in patches]
    assert names == ["event: books", "event: stream"]
    books = json.loads(patches[0].split("data: ")[1])
    assert [book["order"]["owed"] for book in books["orders"]] == ["2.99"]
    assert books["totals"]["owed"] == "2.99"


async def test_a_stream_without_news_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "READ_S", 0)
    monkeypatch.setattr(listeners, "HEARTBEAT_S", 0.01)
    with Listeners().one_more() as listener:
        sent = stream(listener, Picture())
        await anext(sent)
        assert await anext(sent) == b":\n\n"
        await sent.aclose()


async def test_a_plug_that_is_no_longer_known_ends_no_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "READ_S", 0)
    all_of_them, picture = Listeners(), Picture(plugs={"relay": {"name": "relay"}})
    with all_of_them.one_more() as listener:
        sent = stream(listener, picture)
        await anext(sent)
        all_of_them.tell([("plug", "relay"), STREAM])
        picture.plugs = {}
        assert (await anext(sent)).decode().startswith("event: stream\n")
        await sent.aclose()


async def test_somebody_is_there_from_the_first_to_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "STREAMS_MAX", 2)
    all_of_them = Listeners()
    waiting = asyncio.create_task(all_of_them.somebody())
    await asyncio.sleep(0)
    assert not waiting.done()
    with all_of_them.one_more():
        await waiting
        assert all_of_them.unwatched_s() == 0
        assert not all_of_them.are_many
        with all_of_them.one_more():
            assert all_of_them.are_many
    assert all_of_them.unwatched_s() > 0
    assert not asyncio.create_task(all_of_them.somebody()).done()


def test_a_step_counts_once_in_its_second() -> None:
    pace, now_s = Pace(), NOON.timestamp() + limits.PACE_DELAY_S
    for key, at in (("a", NOON), ("a", NOON), ("b", NOON), ("c", NOON - timedelta(seconds=1)), ("d", None)):
        pace.step("forward", key, at)
    pace.step("back", "a", NOON)
    points = pace.points(now_s)
    assert len(points) == limits.PACE_POINTS_MAX
    assert points[-1] == {"at": NOON.isoformat(), "forward": 2, "back": 1}
    assert points[-2]["forward"] == 1
    assert pace.points(now_s + 120)[-1]["forward"] == 0
