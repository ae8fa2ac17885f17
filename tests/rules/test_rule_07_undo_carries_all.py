"""Rule 7. Whoever gets an undo and remembers nothing can carry it out: it brings the command, what came of it, and the
answer. Without a row "it was done" is believed; "nobody knows" closes the door to the command, but only if a row of a
command that did run would still be there. And rows are not forgotten while anything old can still come.
"""

import pytest

from orchestrator import Retry, Saga, limits, saga
from orchestrator.messaging import avro
from orchestrator.messaging.control import Undo
from orchestrator.participant import inbox as inbox_table
from orchestrator.participant.connection import Lane
from orchestrator.participant.inbox_states import InboxRow, decide
from tests.integration.participant.bench import benched
from tests.integration.participant.conftest import aside
from tests.integration.participant.shop import ChargeCard, ReserveStock, make_payments, stock
from tests.rules.inside import Inside, kinds
from tests.unit.core.shop import LOST, NO, Charge, Driver, Reserve

OLD_S = limits.INBOX_HORIZON_S + 86_400.0


@saga
async def pays_then_fails(s: Saga, _: int) -> None:
    await s.call(Charge(amount=45), retry=Retry.never)
    await s.call(Reserve(sku="gone"), retry=Retry.never)


def test_the_undo_on_the_wire_has_the_command_the_outcome_and_the_answer() -> None:
    inside = Inside(pays_then_fails)
    inside.start(pays_then_fails, 0, "s")
    inside.come(inside.succeeded("s", 0, Charge, {"charge": "c-7"}))
    writes = inside.come(inside.refused("s", 1, "failed", NO))
    assert kinds(writes.outbox) == ["undo"]
    (row,) = writes.outbox
    undo = Undo.decode(row.payload)
    assert avro.decode(undo.command) == {"amount": 45}
    assert row.headers["outcome"] == "done"
    assert undo.reply is not None
    assert avro.decode(undo.reply) == {"charge": "c-7"}
    assert undo.sent_at_us == inside.now_us
    assert row.headers["operation_key"] == inside.live("s").identity.key(0)


def test_of_what_nobody_answered_it_says_so() -> None:
    driver = Driver(pays_then_fails, 0)
    (undo,) = [d for d in driver.feed(driver.failed(0, LOST)) if d.to_json()["op"] == "undo"]
    assert (undo.known, undo.body, undo.reply) == ("unknown", {"amount": 45}, None)


def test_without_a_row_done_is_believed_unknown_is_a_tombstone_and_too_old_is_in_doubt() -> None:
    empty = InboxRow("k:0:1")
    assert decide(empty, "undo_done")[1] == "undo"
    tombstone, said = decide(empty, "undo_unknown")
    assert said == "answer"
    assert decide(tombstone, "command")[1] == "refuse"
    doubtful, said = decide(empty, "undo_aged")
    assert (said, doubtful.in_doubt) == ("undo", True)
    assert decide(empty, "aged")[0].in_doubt  # an old command may have run and been forgotten: its no is not definite


@pytest.mark.parametrize(
    ("known", "reply", "age_s", "stock_after"),
    [("done", {"reservation": "r-o1"}, OLD_S, 1001), ("unknown", None, 0.0, 1000)],
)
async def test_a_participant_that_forgot_everything(inbox, inbox_url, known, reply, age_s, stock_after) -> None:
    key, command = inbox.new_key(), ReserveStock(order_id="o1")
    async with benched(stock, inbox_url) as bench:
        await bench.handle(inbox.undo_row(key, command, known, reply, age_s=age_s))
        await bench.handle(inbox.command_row(key, command))
    undone, refused = inbox.answers(key)
    assert (undone.outcome, refused.outcome, refused.problem.type) == ("undone", "failed", "Refused")
    assert inbox.one("SELECT available FROM stock WHERE item = 'book'") == stock_after


@pytest.mark.parametrize("known", ["done", "unknown"])
async def test_forgotten_between_do_and_undo_it_nets_to_zero(inbox, inbox_url, gateway, known) -> None:
    """Two weeks pass between the charge and the denial; the row is gone by then."""
    key, command = inbox.new_key(), ChargeCard(order_id="o1")
    async with benched(make_payments(), inbox_url) as bench:
        await bench.handle(inbox.command_row(key, command))
        charged = await aside(inbox.answer, key)
        inbox.connection.execute("DELETE FROM amends.inbox")
        reply = charged.value if known == "done" else None
        await bench.handle(inbox.undo_row(key, command, known, reply, age_s=OLD_S))
        assert (await aside(inbox.answer, key, "undone")).outcome == "undone"
    assert (len(gateway.book), gateway.net()) == (1, 0)


async def test_a_row_is_forgotten_when_it_is_settled_expired_and_nobody_is_to_look_again(inbox, inbox_url) -> None:
    lane, keys = Lane(inbox_url, "test"), {name: inbox.new_key() for name in ("open", "early", "look again", "over")}
    async with benched(stock, inbox_url) as bench:
        for key in keys.values():
            await bench.handle(inbox.command_row(key, ReserveStock(order_id=key)))
        settled = [key for name, key in keys.items() if name != "open"]
        await bench.handle(inbox.settled_row("stock", *settled))
        change = "UPDATE amends.inbox SET expires_at = now() - interval '1 s' WHERE key <> %s"
        inbox.connection.execute(change, [keys["early"]])
        change = "UPDATE amends.inbox SET due_at = now() + interval '1 hour' WHERE key = %s"
        inbox.connection.execute(change, [keys["look again"]])
        async with lane.transaction() as connection:
            await inbox_table.purge(connection, 10)
    await lane.close()
    assert [name for name, key in keys.items() if inbox.state(key) is None] == ["over"]
