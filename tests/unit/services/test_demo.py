"""The demo's judgements: which stage a saga is in, how an order ended, and when a run has proved nothing."""

import asyncio
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from orchestrator.local.stack import Stack
from services.auditor import Audit, Violation
from services.demo import basket, example, look, outcomes
from services.demo.board import Board
from services.demo.faults import Fault
from services.demo.film import Film
from services.demo.look import STAGES, Look
from services.demo.options import FAULTS, Options, parse
from services.demo.report import Run, text
from services.demo.world import World
from tests.deadlines import eventually_async

CALL = {"op": "call", "seq": 2, "name": "ChargeCard", "service": "payments", "body": {}}
STARTED = {"in": "started", "at": 1_000_000}
REPLIED = {"in": "replied", "at": 2_000_000, "seq": 2}
UNDO = {"op": "undo", "undo_of": 2, "attempt": 1, "name": "ChargeCard", "known": "done"}
UNDONE = {"in": "undo_replied", "at": 3_000_000, "seq": 2, "outcome": "undone"}


def journal(*turns: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(7, "order-1", "u", 3, position, json.dumps(turn)) for position, turn in enumerate(turns)]


def stages(
    *turns: list[dict[str, Any]], outbox: bool = False, inbox: str | None = None, gateway: bool = False
) -> set[str]:
    """The stages of a saga whose operation 2 was seen in these places."""
    places = look.Places(
        {"u:0:2"} if outbox else set(), {"u:0:2": inbox} if inbox else {}, {"u:0:2"} if gateway else set()
    )
    return set(look.staged(look.open_sagas(journal(*turns)), places).get(3, {}))


def test_a_command_goes_through_its_stages() -> None:
    asked = [STARTED, CALL]
    assert stages(asked, outbox=True) == {"command_in_outbox"}
    assert stages(asked, outbox=True, inbox="done") == {"reply_unread"}  # sent, and not deleted yet
    assert stages(asked) == {"command_sent"}
    assert stages(asked, inbox="running", gateway=True) == {"gateway_call_running"}
    assert stages(asked, inbox="done") == {"reply_unread"}
    assert stages(asked, inbox="failed") == {"reply_unread"}
    assert stages(asked, [REPLIED], inbox="done") == set()


def test_a_call_that_waits_for_a_place_is_in_no_stage() -> None:
    assert stages([STARTED, CALL], inbox="running") == set()


def test_what_waits_behind_an_open_breaker_is_in_no_stage() -> None:
    retry = {**REPLIED, "outcome": "retry"}
    assert stages([STARTED, CALL], [retry], inbox="retryable") == set()


def test_an_undo_is_under_way_until_it_is_answered() -> None:
    assert stages([STARTED, CALL], [REPLIED, UNDO]) == {"undo_under_way"}
    assert stages([STARTED, CALL], [REPLIED, UNDO], [{**UNDONE, "outcome": "retry"}]) == {"undo_under_way"}
    assert stages([STARTED, CALL], [REPLIED, UNDO], [UNDONE]) == set()


def test_a_look_counts_only_the_shards_of_the_victim() -> None:
    seen = Look(
        owned={10: frozenset({3})},
        sagas=look.open_sagas(journal([STARTED, CALL])),
        stages={3: {"command_sent": frozenset({"a", "b"})}, 4: {"command_sent": frozenset({"c"})}},
    )
    assert seen.counts({3})["command_sent"] == 2
    assert set(seen.counts({5}).values()) == {0}
    assert seen.positions({3}) == {7: 0}
    assert seen.positions({4}) == {}


def test_every_twenty_orders_hold_each_kind_of_trouble() -> None:
    kinds = {"success", "out of stock", "card declined", "answer lost", "answer late", "shipping refused"}
    assert {basket.script_of(n) for n in range(20)} == kinds
    assert basket.order_of(5, 1) == basket.order_of(5, 1)
    assert basket.order_of(5, 1) != basket.order_of(5, 2)


def test_an_order_stands_in_the_list_before_it_is_started(tmp_path: Path) -> None:
    orders = basket.OrderList(tmp_path / "orders.jsonl")
    orders.add(3, basket.order_of(3, 1))
    (line,) = (tmp_path / "orders.jsonl").read_text().splitlines()
    assert json.loads(line)["order_id"] == "order-0003"
    assert json.loads(line)["script"] == "out of stock"


@pytest.mark.parametrize(
    ("status", "failure", "answers", "name"),
    [
        ("completed", None, set(), "success"),
        ("completed", None, {"lost"}, "answer_lost"),
        ("completed", None, {"hung up"}, "gateway_down"),
        ("failed", "OutOfStock", set(), "out_of_stock"),
        ("failed", "ShippingRefused", {"turned away"}, "shipping_refused"),
        ("failed", "TimedOut", set(), "failed: TimedOut"),
        ("stuck", "TimedOut", set(), "stuck"),
    ],
)
def test_how_an_order_ended(status: str, failure: str | None, answers: set[str], name: str) -> None:
    problem = None if failure is None else json.dumps({"type": failure})
    assert outcomes.outcome(status, problem, answers) == name


def test_the_example_puts_do_and_undo_side_by_side() -> None:
    parts = [
        part for *_, body in journal([STARTED, CALL], [REPLIED, UNDO], [UNDONE]) for part in example.read_turn(body)
    ]
    title, head, line = example.side_by_side("order-1", parts).splitlines()
    assert "order-1" in title
    assert head.split() == ["done", "undone"]
    assert line.split() == ["ChargeCard", "0.00s", "succeeded", "1.00s", "1.00s", "undone", "2.00s"]


def test_the_command_line() -> None:
    assert parse([]) == Options()
    assert parse(["--fast"]).checkouts == 40
    assert parse(["--checkouts", "20", "--kills", "1", "--faults", "orchestrator"]) == Options(
        checkouts=20, open_min=20, kills=1, faults=frozenset({"orchestrator"})
    )
    assert parse(["--faults", ""]).faults == frozenset()
    assert parse(["--record", "docs/recording.svg"]).record == Path("docs/recording.svg")
    with pytest.raises(SystemExit):
        parse(["--faults", "moon"])


async def test_the_film_has_a_frame_for_each_note_and_is_well_formed(tmp_path: Path) -> None:
    board, film, path = Board(), Film(), tmp_path / "film.svg"
    watching = asyncio.create_task(film.watch(board))
    for what in ("the first sagas run", "SIGKILL to orchestrator-1", "the first saga advanced after 0.2 s"):
        board.note(what)
        await eventually_async(lambda: asyncio.sleep(0, film.count == len(board.notes)), 5, what)
    watching.cancel()
    film.add("the books add up\n" * 40)
    film.write(path)
    frames = [group for group in ET.parse(path).getroot() if group.get("class") == "frame"]
    assert len(frames) == 3
    assert "SIGKILL" in path.read_text().replace("&#160;", " ")


@pytest.fixture
def proved(tmp_path: Path) -> Run:
    """A run that proved everything."""
    ledgers = {
        "placed": 6,
        "captured_cents": 300,
        "refunded_cents": 100,
        "owed_cents": 200,
        "booked_by_payments": "2.00",
        "things_sold": 2,
        "things_off_the_shelves": 2,
        "shipments": 2,
        "events_consumed": 6,
        "double_attempts": 1,
    }
    names = ("success", "out_of_stock", "card_declined", "answer_lost", "gateway_down", "shipping_refused")
    return Run(
        options=Options(),
        world=World("r", tmp_path, Stack(tmp_path, "postgresql://h/p", "k"), {}, 1),
        outcomes=Counter(dict.fromkeys(names, 1)),
        faults=[Fault("orchestrator-1", dict.fromkeys(STAGES, 1), 0.5)],
        missed=[],
        audit=Audit([], ledgers),
        seconds=60.0,
        open_least=40,
        example=("order-2", "drawn"),
    )


def test_a_run_that_shows_everything_exits_with_0(proved: Run) -> None:
    assert proved.exit_code == 0
    assert "No money and no stock was lost or doubled" in text(proved)


def test_the_json_has_the_shape_that_was_agreed(proved: Run) -> None:
    assert proved.to_json() == {
        "checkouts": 6,
        "outcomes": dict(proved.outcomes),
        "faults": [{"target": "orchestrator-1", "open_by_stage": dict.fromkeys(STAGES, 1), "recovered_s": 0.5}],
        "double_attempts": 1,
        "events_consumed": 6,
        "seconds": 60.0,
        "violations": [],
    }


def test_a_run_that_shows_too_little_exits_with_3(proved: Run) -> None:
    for less in (
        replace(proved, missed=["a moment never came"]),
        replace(proved, outcomes={**proved.outcomes, "answer_lost": 0}),
        replace(proved, audit=Audit([], {**proved.audit.ledgers, "double_attempts": 0})),
        replace(proved, open_least=39),
    ):
        assert less.exit_code == 3
        assert "the demo proved nothing" in text(less)
    without_gateway = replace(proved.options, faults=frozenset(FAULTS) - {"gateway"})
    assert replace(proved, options=without_gateway, outcomes={**proved.outcomes, "gateway_down": 0}).exit_code == 0


def test_a_violation_exits_with_1_whatever_else_was_shown(proved: Run) -> None:
    wrong = replace(proved, audit=Audit([Violation("order-1", "money", "too much", "the book")], proved.audit.ledgers))
    assert replace(wrong, missed=["something"]).exit_code == 1
    assert "order-1: money: too much" in text(wrong)
    assert wrong.to_json()["violations"][0]["order_id"] == "order-1"
