"""Bugs are planted in real databases, one a test: the auditor names the order and the rule, and accuses nobody else."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.local.stack import Stack
from services.auditor import audit, main
from tests import servers
from tests.integration.services.world import SERVICES, World, build

LATER = "clock_timestamp() + interval '1 minute'"


@pytest.fixture(scope="module")
def urls(stack: Stack) -> Iterator[dict[str, str]]:
    made = {name: servers.create_database(stack.database_url) for name in ("orchestrator", *SERVICES)}
    build(made)
    yield made
    for url in made.values():
        servers.drop_databases(stack.database_url, servers.database_name(url))


@pytest.fixture
def world(urls: dict[str, str], tmp_path: Path) -> World:
    """Two of each kind, so that a bug in one leaves another to be falsely accused."""
    clean = World(urls, tmp_path)
    clean.empty()
    for n in (1, 2):
        clean.paid(f"paid-{n}")
        clean.out_of_stock(f"gone-{n}")
        clean.declined(f"declined-{n}")
        clean.shipping_refused(f"refused-{n}")
    clean.attempt("charge", "paid-2", "paid-2:0:2", "repeated")
    return clean


# What the bug is: (how it is planted, the order, the rule that finds it).
BUGS: dict[str, tuple[Callable[[World], None], str, str]] = {
    "a refund left out": (
        lambda w: (
            w.gateway("DELETE FROM refunds WHERE order_id = 'refused-1'"),
            w.sql("payments", "UPDATE charges SET refund_id = NULL, refunded_at = NULL WHERE order_id = 'refused-1'"),
        ),
        "refused-1",
        "money",
    ),
    "a refund only in our own books": (
        lambda w: w.gateway("DELETE FROM refunds WHERE order_id = 'refused-1'"),
        "refused-1",
        "books disagree",
    ),
    "refunded twice": (lambda w: w.refund("refused-1", ":again:undo"), "refused-1", "money"),
    "a paid order refunded": (lambda w: w.refund("paid-1"), "paid-1", "money"),
    "a double charge": (lambda w: w.charge("paid-1", "paid-1:0:9"), "paid-1", "money"),
    "charged, but not the total": (
        lambda w: w.gateway("UPDATE charges SET cents = 1249 WHERE order_id = 'paid-1'"),
        "paid-1",
        "wrong amount",
    ),
    "a tombstone ignored: the late command charged": (lambda w: w.charge("gone-1"), "gone-1", "money"),
    "a charge that payments forgot": (
        lambda w: w.sql("payments", "DELETE FROM charges WHERE order_id = 'paid-1'"),
        "paid-1",
        "books disagree",
    ),
    "a step run again under a new key": (
        lambda w: w.ship("paid-1", "paid-1:1:4"),
        "paid-1",
        "done again under a new key",
    ),
    "a step run again and taken back under a new key": (
        lambda w: (w.move("paid-1", -2, "paid-1:0:7"), w.move("paid-1", 2, "paid-1:0:7:undo")),
        "paid-1",
        "done again under a new key",
    ),
    "an event lost": (
        lambda w: w.sql("analytics", "DELETE FROM outcomes WHERE order_id = 'declined-1'"),
        "declined-1",
        "event lost",
    ),
    "an event twice": (lambda w: w.hear("paid-1", "paid"), "paid-1", "event twice"),
    "both events": (lambda w: w.hear("paid-1", "cancelled"), "paid-1", "event twice"),
    "the wrong event": (
        lambda w: w.sql("analytics", "UPDATE outcomes SET outcome = 'paid' WHERE order_id = 'refused-1'"),
        "refused-1",
        "event wrong",
    ),
    "stock leaked": (
        lambda w: (
            w.sql("stock", "DELETE FROM movements WHERE order_id = 'declined-1' AND change > 0"),
            w.sql("stock", "UPDATE shelves SET quantity = quantity - 2 WHERE sku = 'pen'"),
        ),
        "declined-1",
        "stock",
    ),
    "stock released twice": (lambda w: w.move("declined-1", 2, "declined-1:0:1:undo"), "declined-1", "stock"),
    "stock taken twice": (lambda w: w.move("paid-1", -2), "paid-1", "stock"),
    "a shelf that does not add up": (
        lambda w: w.sql("stock", "UPDATE shelves SET quantity = quantity - 1 WHERE sku = 'pen'"),
        "",
        "shelf",
    ),
    "shipped, though cancelled": (lambda w: w.ship("refused-1"), "refused-1", "shipments"),
    "paid, and never shipped": (
        lambda w: w.sql("shipping", "DELETE FROM shipments WHERE order_id = 'paid-1'"),
        "paid-1",
        "shipments",
    ),
    "packed, though cancelled": (
        lambda w: w.sql("shipping", "UPDATE parcels SET unpacked_at = NULL WHERE order_id = 'refused-1'"),
        "refused-1",
        "parcels",
    ),
    "cancelled, and its order stands": (
        lambda w: w.sql("orders", "UPDATE orders SET cancelled_at = NULL WHERE order_id = 'gone-1'"),
        "gone-1",
        "orders",
    ),
    "a saga that never ended": (
        lambda w: w.sql(
            "orchestrator", "UPDATE amends.sagas SET status = 'running', ended_at = NULL WHERE id = 'paid-1'"
        ),
        "paid-1",
        "not ended",
    ),
    "a saga that is stuck": (
        lambda w: w.sql("orchestrator", "UPDATE amends.sagas SET status = 'stuck' WHERE id = 'refused-1'"),
        "refused-1",
        "not ended",
    ),
    "a start that was lost": (
        lambda w: w.sql("orchestrator", "DELETE FROM amends.sagas WHERE id = 'declined-1'"),
        "declined-1",
        "lost",
    ),
    "a zombie's write that nets to zero": (
        lambda w: w.sql(
            "stock",
            "INSERT INTO movements (key, order_id, sku, change, at) SELECT 'declined-1:0:1', 'declined-1', 'pen', c, "
            f"{LATER} FROM unnest(ARRAY[-2, 2]) AS c",
        ),
        "declined-1",
        "written after the end",
    ),
    "a zombie's refund": (
        lambda w: w.gateway("UPDATE refunds SET at = at + 60 WHERE order_id = 'refused-1'"),
        "refused-1",
        "written after the end",
    ),
    "an order that nobody placed": (lambda w: w.ship("ghost"), "ghost", "nobody placed it"),
}


def test_a_clean_world_passes_and_its_sums_are_right(world: World) -> None:
    found = audit(world.path)
    assert found.violations == []
    assert found.ledgers == {
        "placed": 8,
        "captured_cents": 4 * 1250,
        "refunded_cents": 2 * 1250,
        "owed_cents": 2 * 1250,
        "booked_by_payments": "25.00",
        "things_sold": 4,
        "things_off_the_shelves": 4,
        "shipments": 2,
        "events_consumed": 8,
        "double_attempts": 1,
    }


@pytest.mark.parametrize("bug", BUGS)
def test_it_finds(world: World, bug: str) -> None:
    plant, order_id, rule = BUGS[bug]
    plant(world)
    found = audit(world.path).violations
    assert (order_id, rule) in {(v.order_id, v.rule) for v in found}
    assert {v.order_id for v in found} <= {order_id, ""}
    assert all(v.look_at for v in found)


def test_half_a_line_at_the_end_of_the_list_was_no_order(world: World) -> None:
    with (world.folder / "orders.jsonl").open("a") as file:
        file.write('{"order_id": "half')
    assert audit(world.path).violations == []


def test_the_exit_code_and_the_line_name_the_order(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(world.path)]) == 0
    world.hear("paid-1", "paid")
    capsys.readouterr()
    assert main([str(world.path)]) == 1
    first, rest = capsys.readouterr().out.split("\n", 1)
    assert first.startswith("paid-1: event twice: ")
    assert json.loads(rest)["events_consumed"] == 9
