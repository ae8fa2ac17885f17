"""Local handlers: a batch is one transaction, a culprit is found and judged alone, and nobody commits but the inbox."""

import asyncio

import psycopg
import pytest

from orchestrator.participant import Participant, Transaction, local
from tests.integration.participant.bench import benched
from tests.integration.participant.conftest import aside
from tests.integration.participant.shop import Count, OrderPaid, Reserved, ReserveStock, reserve, stock


def available(inbox, item="book") -> int:
    return inbox.one("SELECT available FROM stock WHERE item = %s", item)


async def test_a_batch_is_one_transaction_in_order(inbox, inbox_url):
    keys = [inbox.new_key() for _ in range(50)]
    async with benched(stock, inbox_url) as bench:
        await bench.handle_all([inbox.command_row(k, ReserveStock(order_id=k)) for k in keys])
    assert [a.key for a in inbox.answers()] == keys
    assert available(inbox) == 950
    assert inbox.one("SELECT count(DISTINCT xmin::text) FROM amends.inbox") == 1


async def test_failures_and_bugs_in_a_batch_cost_their_neighbours_nothing(inbox, inbox_url):
    commands = {inbox.new_key(): ReserveStock(order_id=f"o{i}") for i in range(30)}
    keys = list(commands)
    commands[keys[3]] = ReserveStock(order_id="big", quantity=5000)
    commands[keys[4]] = ReserveStock(order_id="bug", trouble="bug")
    commands[keys[29]] = ReserveStock(order_id="big2", quantity=5000)
    async with benched(stock, inbox_url) as bench:
        await bench.handle_all([inbox.command_row(k, c) for k, c in commands.items()])
    outcomes = {a.key: a for a in inbox.answers()}
    assert [a.key for a in inbox.answers()] == keys
    declined = outcomes[keys[3]]
    assert (declined.outcome, declined.type, declined.problem.effect) == ("failed", "OutOfStock", "none")
    assert declined.problem.fields == {"item": "book"}
    bug = outcomes[keys[4]]
    assert (bug.outcome, bug.problem.type, bug.problem.effect, bug.problem.retry_after_s) == (
        *("retry", "ZeroDivisionError", "none", None),
    )
    assert available(inbox) == 1000 - 27
    assert inbox.one("SELECT count(*) FROM reservations") == 27


async def test_an_exception_is_transient_so_many_times_and_then_final_and_visible(inbox, inbox_url):
    key, command = inbox.new_key(), ReserveStock(order_id="o1", trouble="bug")
    async with benched(stock, inbox_url) as bench:
        for attempt in range(1, 7):
            await bench.handle(inbox.command_row(key, command, attempt))
        undo = inbox.undo_row(key, command, "unknown")
        await bench.handle(undo)
    assert [a.outcome for a in inbox.answers(key, "reply")] == ["retry"] * 4 + ["failed"] * 2
    assert inbox.answers(key)[4].problem.effect == "none"
    assert inbox.answers(key, "undone")[0].outcome == "undone"
    assert inbox.one("SELECT problem_text FROM amends.inbox") == "ZeroDivisionError: a bug"


async def test_a_pause_burns_no_attempt(inbox, inbox_url):
    key = inbox.new_key()
    async with benched(stock, inbox_url) as bench:
        await bench.handle(inbox.command_row(key, ReserveStock(order_id="o1", trouble="transient")))
        await bench.handle(inbox.command_row(key, ReserveStock(order_id="o1", trouble="transient")))
    first, second = inbox.answers(key)
    assert (first.outcome, first.attempt, first.problem.retry_after_s, first.problem.effect) == (
        "retry",
        1,
        1.5,
        "none",
    )
    assert (second.outcome, second.attempt) == ("retry", 1)
    assert inbox.one("SELECT attempt FROM amends.inbox") == 0


@pytest.mark.parametrize("how", ["commit", "sql commit", "session commit"])
async def test_nobody_commits_but_the_inbox(inbox, inbox_url, how):
    good, bad = inbox.new_key(), inbox.new_key()
    async with benched(stock, inbox_url) as bench:
        await bench.handle(
            inbox.command_row(good, ReserveStock(order_id="good")),
            inbox.command_row(bad, ReserveStock(order_id="bad", trouble=how)),
        )
    assert inbox.answers(bad)[0].problem.type == "TransactionIsOurs"
    assert inbox.answers(good)[0].outcome == "succeeded"
    assert available(inbox) == 999


async def test_a_swallowed_error_is_named(inbox, inbox_url):
    key = inbox.new_key()
    async with benched(stock, inbox_url) as bench:
        await bench.handle(inbox.command_row(key, ReserveStock(order_id="o1", trouble="swallow")))
    assert inbox.answers(key)[0].problem.type == "TransactionSpoiled"
    assert available(inbox) == 1000


async def test_what_is_published_leaves_with_the_answer(inbox, inbox_url):
    keys = [inbox.new_key(), inbox.new_key()]
    async with benched(stock, inbox_url) as bench:
        await bench.handle(
            inbox.command_row(keys[0], ReserveStock(order_id="o1", trouble="publish")),
            inbox.command_row(keys[1], ReserveStock(order_id="o2", quantity=5000)),
        )
    assert inbox.one("SELECT count(*) FROM amends.outbox WHERE kind = 'event' AND type = 'StockLow'") == 1


async def test_a_deadlock_is_run_again_and_nobody_is_told(inbox, inbox_url):
    """Somebody else's transaction and ours wait for each other's rows: whichever Postgres ends, ours comes through."""
    pen, book = inbox.new_key(), inbox.new_key()
    with psycopg.connect(inbox_url) as other:
        other.execute("UPDATE stock SET available = available WHERE item = 'book'")
        async with benched(stock, inbox_url) as bench:
            handling = asyncio.create_task(
                bench.handle(
                    inbox.command_row(pen, ReserveStock(order_id="o1", item="pen")),
                    inbox.command_row(book, ReserveStock(order_id="o2", item="book")),
                )
            )
            waits = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            while not inbox.one(waits):
                await asyncio.sleep(0.01)

            def cross():
                try:
                    other.execute("UPDATE stock SET available = available WHERE item = 'pen'")
                    other.commit()
                except psycopg.errors.DeadlockDetected:
                    other.rollback()

            await aside(cross)
            await handling
    assert [inbox.answers(k)[0].outcome for k in (pen, book)] == ["succeeded", "succeeded"]
    assert (available(inbox, "pen"), available(inbox)) == (999, 999)


async def test_a_row_that_the_outbox_refuses_spoils_only_its_own_message(inbox, inbox_url):
    good, forged = inbox.new_key(), inbox.new_key()
    row = inbox.command_row(forged, ReserveStock(order_id="forged"))
    async with benched(stock, inbox_url) as bench:
        envelope = bench.envelope(row)

        await bench.process.handle(
            [
                bench.envelope(inbox.command_row(good, ReserveStock(order_id="good"))),
                envelope._replace(reply_to="no-such-topic/0"),
            ]
        )
    assert inbox.answers(good)[0].outcome == "succeeded"
    assert available(inbox) == 999
    assert "no-such-topic" in inbox.one("SELECT error FROM amends.inbox_dead")


async def test_an_event_is_handled_once(inbox, inbox_url):
    event_id = "6f2a3d7e-0000-4000-8000-000000000001"
    row = inbox.event_row(OrderPaid(order_id="o1"), event_id)
    async with benched(stock, inbox_url) as bench:
        await bench.handle(row, row)
        await bench.handle(row)
    assert inbox.one("SELECT count(*) FROM seen") == 1
    assert inbox.one("SELECT event_key FROM seen") == event_id


async def test_an_event_that_fails_waits_aside_and_keeps_its_keys_order(inbox, inbox_url):
    rows = [
        inbox.event_row(OrderPaid(order_id="o1", trouble="once")),
        inbox.event_row(OrderPaid(order_id="o1")),
        inbox.event_row(OrderPaid(order_id="o2")),
    ]
    async with benched(stock, inbox_url) as bench:
        await bench.handle_all(rows)
        assert inbox.one("SELECT array_agg(order_id) FROM seen") == ["o2"]
        while inbox.one("SELECT count(*) FROM seen") < 3:
            await asyncio.sleep(0.02)
    assert inbox.one("SELECT array_agg(order_id ORDER BY ctid) FROM seen") == ["o2", "o1", "o1"]
    assert inbox.one("SELECT count(*) FROM amends.inbox_events WHERE state = 'done' AND payload IS NULL") == 3


async def test_an_event_that_never_works_is_parked_and_seen_and_lets_the_others_by(inbox, inbox_url, monkeypatch):
    from orchestrator.participant import inbox_events

    monkeypatch.setattr(inbox_events, "EVENT_ATTEMPTS_MAX", 2)
    rows = [inbox.event_row(OrderPaid(order_id="o1", trouble="always")), inbox.event_row(OrderPaid(order_id="o1"))]
    async with benched(stock, inbox_url) as bench:
        await bench.handle_all(rows)
        while not inbox.one("SELECT count(*) FROM seen"):
            await asyncio.sleep(0.02)
    parked = inbox.connection.execute(
        "SELECT attempts, error, payload IS NOT NULL FROM amends.inbox_events WHERE state = 'parked'"
    ).fetchall()
    assert parked == [(2, "RuntimeError: never works", True)]


def settled(inbox) -> set[str]:
    return {key for (key,) in inbox.connection.execute("SELECT key FROM amends.inbox WHERE settled")}


def paused_stock(at_work: asyncio.Event, go_on: asyncio.Event) -> Participant[None]:
    """`stock` of another process, which stands still before it has touched anything."""
    participant = Participant("stock")

    @participant.handles(ReserveStock)
    async def reserve_late(cmd: ReserveStock, tx: Transaction) -> Reserved:
        at_work.set()
        await go_on.wait()
        return await reserve.function(cmd, tx)

    @reserve_late.undo
    async def release_late(cmd: ReserveStock, reserved: Reserved, tx: Transaction) -> None:
        raise AssertionError("nothing is undone here")

    return participant


@pytest.mark.parametrize("first", ["the same command", "its undo"])
async def test_who_comes_second_for_a_new_key_does_it_again_with_the_row_in_sight(inbox, inbox_url, first):
    """Both have looked and found no row: the second one's transaction must not commit beside the first one's."""
    key, other = inbox.new_key(), inbox.new_key()
    at_work, go_on = asyncio.Event(), asyncio.Event()
    command = ReserveStock(order_id="o1")
    row = inbox.command_row(key, command)
    async with benched(paused_stock(at_work, go_on), inbox_url) as slow, benched(stock, inbox_url) as quick:
        handling = asyncio.create_task(slow.handle(inbox.command_row(other, ReserveStock(order_id="o2")), row))
        await at_work.wait()
        await quick.handle(row if first == "the same command" else inbox.undo_row(key, command, "unknown"))
        go_on.set()
        await handling
    by_quick, by_slow = inbox.answers(key)
    if first == "the same command":
        assert (by_quick.outcome, by_slow) == ("succeeded", by_quick)
        assert available(inbox) == 998
    else:
        assert (by_quick.outcome, by_slow.outcome, by_slow.type) == ("undone", "failed", "Refused")
        assert available(inbox) == 999
    assert inbox.answer(other).outcome == "succeeded"
    assert inbox.one("SELECT count(*) FROM amends.inbox_dead") == 0


async def test_a_command_is_settled_in_the_batch_that_brought_it_or_later(inbox, inbox_url):
    keys = [inbox.new_key() for _ in range(3)]
    rows = [inbox.command_row(key, ReserveStock(order_id=key), expires_in_s=5) for key in keys]
    async with benched(stock, inbox_url) as bench:
        await bench.handle(rows[0], inbox.settled_row("stock", keys[0]), rows[1], rows[2])
        assert settled(inbox) == {keys[0]}
        await bench.handle(inbox.settled_row("stock", keys[1]), inbox.settled_row("stock", inbox.new_key()))
        assert settled(inbox) == set(keys[:2])
    days = "SELECT count(*) FROM amends.inbox WHERE expires_at > now() + interval '23 hours'"
    assert inbox.one(days) == 2, "a settled notice counts as an expiry"
    assert inbox.one("SELECT count(*) FROM amends.inbox WHERE state = 'done' AND recorded") == 3


async def test_a_command_that_succeeds_at_once_is_written_once(inbox, inbox_url):
    keys = [inbox.new_key() for _ in range(20)]
    async with benched(stock, inbox_url) as bench:
        await bench.handle_all([inbox.command_row(k, Count(item="book")) for k in keys])
        await bench.process._lanes["inbox"].execute("SELECT pg_stat_force_next_flush()")
        counted = "SELECT n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_user_tables WHERE relname = 'inbox'"
        assert inbox.connection.execute(counted).fetchone() == (20, 0, 0)


async def test_a_handler_that_takes_too_long_is_ended_and_its_neighbours_are_not(inbox, inbox_url, monkeypatch):
    monkeypatch.setattr(local, "LOCAL_SECONDS_MAX", 0.3)
    participant = Participant("stock")

    @participant.handles(ReserveStock)
    async def reserve_slowly(cmd: ReserveStock, tx: Transaction) -> Reserved:
        await tx.connection.execute("SELECT pg_sleep(%s)", (20 if cmd.trouble else 0.02,))
        return await reserve.function(cmd, tx)

    @reserve_slowly.undo
    async def release_slowly(cmd: ReserveStock, reserved: Reserved, tx: Transaction) -> None:
        raise AssertionError("nothing is undone here")

    keys = [inbox.new_key() for _ in range(20)]
    rows = [inbox.command_row(k, ReserveStock(order_id=k, trouble="" if k != keys[18] else "slow")) for k in keys]
    async with benched(participant, inbox_url) as bench:
        await bench.handle_all(rows)
    late = inbox.answer(keys[18])
    assert (late.outcome, late.problem.type) == ("retry", "TimeoutError")
    assert [inbox.answer(k).outcome for k in keys if k != keys[18]] == ["succeeded"] * 19
