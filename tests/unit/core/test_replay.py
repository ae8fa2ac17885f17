"""Replay: what is decided again must be what was recorded, or there is a report (rule 18)."""

import json
import logging
from asyncio import events
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Failure, Message, OperationFailed, Saga, saga
from orchestrator.core.blocked import Blocked
from orchestrator.core.determinism import install_guard
from orchestrator.core.entries import Json, entry_from_json, entry_to_json
from orchestrator.core.replay import replay
from orchestrator.core.saga_type import SagaType
from orchestrator.problems import Problem
from tests.unit.core.shop import LOST, Driver, Paid, Print, Reserve


@saga
async def original(s: Saga, _: int) -> str:
    await s.call(Reserve(sku="a"))
    return await s.call(Print(order="1"))


def returns_anything() -> Any:
    """What it returned is fed by hand."""


def journal() -> Driver:
    driver = Driver(original, 0)
    driver.feed(driver.reply(0))
    driver.feed(driver.reply(1, "label"))
    return driver


def report(changed: SagaType[Any, Any]) -> str:
    driver = journal()
    with pytest.raises(Blocked) as caught:
        replay(changed, driver.identity, driver.rows)
    assert caught.value.problem.type == "ReplayMismatch"
    return caught.value.problem.text


def test_another_order_is_reported_with_position_both_sides_and_line() -> None:
    @saga(name="original")
    async def changed(s: Saga, _: int) -> str:
        label = await s.call(Print(order="1"))
        await s.call(Reserve(sku="a"))
        return label

    text = report(changed)
    assert "saga order-1 (original version 1), journal position 0: recorded" in text
    assert '"name": "ShopReserve"' in text
    assert 'the code at hand decides {"op": "call", "seq": 0, "name": "ShopPrint"' in text
    assert "test_replay.py:" in text
    assert "amends unblock order-1" in text


def test_another_argument_is_reported() -> None:
    @saga(name="original")
    async def changed(s: Saga, _: int) -> str:
        await s.call(Reserve(sku="b"))
        return await s.call(Print(order="1"))

    assert '"body": {"sku": "b"}' in report(changed)


def test_one_operation_less_or_more_is_reported() -> None:
    @saga(name="original")
    async def less(s: Saga, _: int) -> str:
        await s.call(Reserve(sku="a"))
        return "label"

    @saga(name="original")
    async def more(s: Saga, _: int) -> str:
        s.set("new", 1)
        await s.call(Reserve(sku="a"))
        return await s.call(Print(order="1"))

    assert "journal position 1" in report(less)
    assert 'decides {"op": "set"' in report(more)


def test_code_that_is_refused_on_replay_is_reported() -> None:
    @saga(name="original")
    async def refused(s: Saga, _: int) -> str:
        s.pivot()
        await s.call(Reserve(sku="a"))
        return await s.call(undeclared)

    undeclared = Print(order="1")
    assert "recorded" in report(refused)


def test_cut_anywhere_it_replays() -> None:
    driver = journal()
    for position in range(len(driver.rows) + 1):
        live = replay(original, driver.identity, driver.rows[:position])
        assert live.position == position
        live.evict()


def test_where_the_rows_come_from_is_outside_of_the_saga() -> None:
    """They may be read as they are wanted: from Postgres, with pauses, with log lines."""

    @saga
    async def listens(s: Saga, _: int) -> None:
        while True:
            await s.receive(Paid)

    driver = Driver(listens, 0)
    for number in range(120):
        driver.feed(driver.message(Paid(reference="1"), id=str(number)))
    running = []

    def read() -> Iterator[list[Json]]:
        for row in driver.rows:
            running.append(events._get_running_loop())
            yield row
        running.append(events._get_running_loop())

    install_guard()
    live = replay(listens, driver.identity, read())
    assert live.position == 121
    assert running == [None] * 122
    with Path(__file__).open():  # and who replayed is outside again
        live.evict()


def test_the_log_is_silent_on_replay(caplog: pytest.LogCaptureFixture) -> None:
    @saga
    async def logs(s: Saga, _: int) -> None:
        s.log.warning("once")
        await s.receive(Paid)
        s.log.warning("twice")

    with caplog.at_level(logging.WARNING):
        driver = Driver(logs, 0)
        driver.feed(driver.message(Paid(reference="1"), id="1"))
    assert [record.message for record in caplog.records] == ["once", "twice"]
    assert caplog.records[0].saga_id == "order-1"  # type: ignore[attr-defined]


# ---- values: live as on replay (rule 16, hole C5)


class Wide(Message, name="ReplayWide"):
    items: tuple[int, ...]
    table: dict[str, int]
    mixed: int | str


class Narrow(Message, name="ReplayNarrow"):
    pass


class Narrower(Narrow, name="ReplayNarrower"):
    extra: int


class TooHot(Failure, wire_name="ReplayTooHot"):
    degrees: float


async def wide() -> Wide:
    return Wide(items=(1,), table={"zeta": 1, "b": 2}, mixed=1)


async def narrow() -> Narrow:
    return Narrow()


def test_saga_code_gets_what_a_replay_would_get() -> None:
    seen: list[object] = []

    @saga
    async def looks(s: Saga, given: Wide) -> None:
        seen.append(given)
        seen.append(await s.step(wide))
        try:
            await s.step(narrow)
        except TooHot as error:
            seen.append((error.degrees, type(error)))
        try:
            await s.step(narrow)
        except OperationFailed as error:
            seen.append((error.error_type, error.error_text))

    value = {"items": [1, 2], "table": {"zeta": 1, "b": 2}, "mixed": "1"}
    driver = Driver(looks, value)
    driver.feed(driver.step(0, value))
    driver.feed(driver.raised(1, Problem(kind="failure", type="ReplayTooHot", fields={"degrees": 40}, effect="none")))
    driver.feed(driver.raised(2, LOST, attempt=1))
    for attempt in range(2, 6):
        driver.feed(driver.timer())
        driver.feed(driver.raised(2, LOST, attempt=attempt))
    assert seen[0] == Wide(items=(1, 2), table={"zeta": 1, "b": 2}, mixed="1")
    assert list(seen[0].table) == ["zeta", "b"]
    assert (40.0, TooHot) in seen
    assert ("ReadTimeout", "no answer from the gateway") in seen


def test_what_can_not_be_kept_is_the_sagas_error() -> None:
    @saga
    async def sets(s: Saga, what: str) -> str:
        values: dict[str, object] = {"nan": float("nan"), "nul": "a\x00b", "object": object(), "big": "x" * 600_000}
        try:
            s.set("a", values[what])
        except Exception as error:
            return type(error).__name__
        return "kept"

    for what in ("nan", "nul", "object", "big"):
        assert Driver(sets, what).end.result == "PayloadError", what


def test_a_result_that_can_not_be_kept_fails_the_saga() -> None:
    @saga
    async def returns_nan(s: Saga, _: int) -> float:
        await s.call(Reserve(sku="a"))
        return float("nan")

    driver = Driver(returns_nan, 0)
    driver.feed(driver.reply(0))
    driver.feed(driver.undone(0))
    assert driver.end.status == "failed"
    assert driver.end.problem is not None
    assert driver.end.problem.type == "PayloadError"


def test_an_address_in_the_text_of_an_error_is_no_change_of_the_code() -> None:
    @saga
    async def shows_an_address(s: Saga, _: int) -> None:
        raise LookupError(object())

    driver = Driver(shows_an_address, 0)
    assert driver.end.problem is not None
    assert driver.end.problem.text == "<object object at 0x…>"


def test_an_input_of_another_type_blocks() -> None:
    with pytest.raises(Blocked, match="this is no int"):
        Driver(original, {"not": "an int"})


def test_entries_and_their_json() -> None:
    driver = Driver(original, 0)
    entries: list[Any] = [
        driver.reply(0),
        driver.failed(0),
        driver.retry(1, LOST, attempt=2),
        driver.step(1, [1, {"a": None}]),
        driver.undone(2, "failed", problem=LOST),
        driver.message(Paid(reference="1"), id="1", channel="c"),
        driver.verb("skip", "a note"),
        driver.undo_request(attempt=2),
    ]
    for entry in entries:
        data: Json = json.loads(json.dumps(entry_to_json(entry)))
        assert entry_from_json(data) == entry


def test_what_is_usual_is_left_out_and_a_journal_that_says_it_is_the_same() -> None:
    @saga
    async def works(s: Saga, _: int) -> None:
        await s.step(returns_anything)
        await s.call(Reserve(sku="a"))
        await s.call(Print(order="1"))

    driver = Driver(works, 0)
    for entry in (driver.step(0, 5), driver.reply(1), driver.failed(2), driver.undone(1)):
        driver.feed(entry)
    short = json.loads(json.dumps(driver.rows))
    assert [sorted(row[0].keys() & {"attempt", "outcome"}) for row in short] == [[], [], [], ["outcome"], ["outcome"]]
    # As journals said it before.
    long = [[{"attempt": 1, "outcome": "succeeded", "body": None, **row[0]}, *row[1:]] for row in short[1:4]]
    long = [short[0], *long, [{"attempt": 1, **short[4][0]}, *short[4][1:]]]
    assert [entry_from_json(row[0]) for row in long] == [entry_from_json(row[0]) for row in short]
    for rows in (short, long):
        assert replay(works, driver.identity, rows).status == driver.end.status == "failed"


class Noted(Message, name="ReplayNoted"):
    note: Any


@pytest.mark.parametrize("value", ["", None, 0, False, [], {}, [None], "0"])
def test_what_is_empty_or_none_is_read_as_it_was(value: Json) -> None:
    @saga
    async def keeps(s: Saga, given: Any) -> Any:
        return [given, await s.step(returns_anything), (await s.receive(Noted)).note]

    driver = Driver(keeps, value)
    fed = [driver.step(0, value), driver.message(Noted(note=value), id="1")]
    for entry in fed:
        driver.feed(entry)
    rows = json.loads(json.dumps(driver.rows))
    assert [entry_from_json(row[0]) for row in rows[1:]] == fed
    assert driver.end.result == [value, value, value]
    again = replay(keeps, driver.identity, rows)
    assert again.status == "completed"
