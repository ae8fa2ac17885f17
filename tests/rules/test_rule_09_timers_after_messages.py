"""Rule 9. No timer wins against an answer that was there before it: it waits until its shard was read up to where the
topic ended after it fell due. No patience runs out with a command that has not left, or that nobody could have sent.
"""

import asyncio
from datetime import timedelta

import psycopg
import pytest

from orchestrator import Retry, Saga, SyncClient, limits, saga
from orchestrator.core.decisions import Timer
from orchestrator.engine.fence import Hold
from orchestrator.engine.patience import Patience
from orchestrator.engine.wakeups import Wakeups, patient_due_us
from orchestrator.engine.watermarks import Watermarks
from tests.deadlines import deadline, eventually
from tests.integration.engine import program
from tests.integration.engine.kit import System
from tests.integration.engine.program import Post, ledger
from tests.rules.inside import SHARD, Inside
from tests.unit.core.shop import SECOND, Charge


@saga
async def impatient(s: Saga, _: int) -> str:
    return (await s.call(Charge(amount=1), retry=Retry.never, timeout=timedelta(seconds=5))).charge


@saga
async def in_a_hurry(s: Saga, account: str) -> str:
    try:
        async with asyncio.timeout(1):
            return f"posted {await s.call(Post(account=account, amount=10))}"
    except TimeoutError:
        return "gave up"


# ---- where the topic ended -------------------------------------------------------------------------------------------


def test_it_waits_for_the_end_that_was_seen_after_it_fell_due() -> None:
    marks = Watermarks()
    marks.observed(0, end_offset=7, at_us=99)
    marks.reached(0, next_offset=7)
    assert not marks.lets_in(0, due_us=100)  # what came between 99 and 100 may be its answer
    marks.observed(0, end_offset=9, at_us=100)
    marks.reached(0, next_offset=8)
    assert not marks.lets_in(0, due_us=100)
    marks.reached(0, next_offset=9)
    assert marks.lets_in(0, due_us=100)
    assert not marks.lets_in(1, due_us=100)


def test_a_topic_that_grows_faster_than_it_is_read_holds_no_timer_for_ever() -> None:
    marks = Watermarks()
    for look in range(20):
        marks.observed(0, end_offset=10 + 100 * look, at_us=100 + look)
        marks.reached(0, next_offset=look)
    assert marks.lets_in(0, due_us=100)


def test_patience_with_a_call_that_was_running_at_a_claim_begins_at_the_claim() -> None:
    armed_for_30 = {"number": 1, "armed_us": 100, "due_us": 130}
    assert patient_due_us(Timer(**armed_for_30, seq=4), floor_us=10_000) == 10_030
    assert patient_due_us(Timer(**armed_for_30), floor_us=10_000) == 130  # a sleep is no patience with anybody


# ---- the outbox ------------------------------------------------------------------------------------------------------


class Clockwork:
    """A saga that waits for an answer; its shard was read to the end; the time is up."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection
        self.inside = Inside(impatient)
        (self.command,) = self.inside.start(impatient, 0, "s").outbox
        self.hold = Hold(SHARD, 1, None, 0, 0, None, claimed_us=0)  # type: ignore[arg-type]  # nobody asks
        self.marks, self.wakeups = Watermarks(), Wakeups()
        self.patience = Patience(self.wakeups, self.marks, self.inside.processing, lambda shards: None)
        timer = self.inside.live("s").next_timer
        assert timer is not None
        self.fires_at(timer.armed_us + 1)  # An orchestrator looks all the time: it saw that the command had left.
        self.inside.now_us = timer.due_us + SECOND
        self.wakeups.set(self.inside.resident("s").row.saga_no, "s", SHARD, timer.due_us)
        self.read_to_the_end()

    def read_to_the_end(self) -> None:
        self.marks.observed(SHARD, end_offset=7, at_us=10**18)
        self.marks.reached(SHARD, next_offset=7)

    def lies_in_the_outbox(self, *, age_s: float, key: str | None) -> None:
        self.connection.execute(
            """INSERT INTO amends.outbox (aggregatetype, aggregateid, type, partition, kind, operation_key, "timestamp")
            VALUES ('payments.commands', 's', 'ShopCharge', 0, 'command', %s, to_timestamp(%s) AT TIME ZONE 'UTC')""",
            [key, self.inside.now_us / 1e6 - age_s],
        )

    def fires(self) -> bool:
        return self.fires_at(self.inside.now_us)

    def fires_at(self, now_us: int) -> bool:
        return bool(self.patience.due(self.connection, {SHARD: self.hold}, now_us))


def test_when_nothing_stands_against_it_it_fires(connection) -> None:
    assert Clockwork(connection).fires()


def test_while_there_is_something_to_read_it_is_held_and_then_fires(connection) -> None:
    clockwork = Clockwork(connection)
    clockwork.marks.forget(SHARD)  # as after a claim
    assert not clockwork.fires()
    clockwork.read_to_the_end()
    assert clockwork.fires()


def test_a_look_at_the_log_counts_for_the_time_that_is_really_up(connection) -> None:
    """After a claim under a backlog: the log was looked at when the old time was up, and it took long to get there."""
    clockwork = Clockwork(connection)
    old_due_us = clockwork.inside.now_us - SECOND
    clockwork.hold.claimed_us = old_due_us + 60 * SECOND
    clockwork.marks.forget(SHARD)
    clockwork.marks.observed(SHARD, end_offset=7, at_us=clockwork.hold.claimed_us + SECOND)
    clockwork.marks.reached(SHARD, next_offset=7)
    clockwork.inside.now_us = clockwork.hold.claimed_us + 6 * SECOND  # five have passed since the claim
    assert not clockwork.fires()
    assert not clockwork.fires()
    clockwork.marks.observed(SHARD, end_offset=9, at_us=clockwork.inside.now_us)
    clockwork.marks.reached(SHARD, next_offset=9)
    assert clockwork.fires()


def test_a_command_that_still_lies_in_the_outbox_has_all_its_time_before_it(connection) -> None:
    clockwork = Clockwork(connection)
    clockwork.lies_in_the_outbox(age_s=1, key=clockwork.command.headers["operation_key"])
    assert not clockwork.fires()
    assert clockwork.wakeups.next_us() == clockwork.inside.now_us + 5 * SECOND
    assert clockwork.inside.live("s").timers()  # put off, not dropped


def test_while_the_outbox_stands_still_nobodys_time_is_up(connection) -> None:
    clockwork = Clockwork(connection)
    clockwork.lies_in_the_outbox(age_s=limits.OUTBOX_HEALTHY_S + 1, key=None)
    assert not clockwork.fires()
    connection.execute("DELETE FROM amends.outbox")
    clockwork.inside.now_us = clockwork.wakeups.next_us() or 0
    assert not clockwork.fires()  # it was sent just now, as far as anybody knows
    clockwork.inside.now_us = clockwork.wakeups.next_us() or 0
    assert clockwork.fires()


# ---- the whole -------------------------------------------------------------------------------------------------------


@pytest.fixture
def quiet_books(system: System) -> System:
    """The ledger's tables and the relay; its participant has not been started."""
    for statement in program.TABLES.split(";"):
        if statement.strip():
            system.execute(statement)
    system.relay()
    return system


def outbox_is_empty(system: System) -> bool:
    return system.rows("SELECT 1 FROM amends.outbox LIMIT 1") == []


def test_after_an_outage_the_answers_in_kafka_come_before_the_timeouts(quiet_books: System) -> None:
    stop = quiet_books.orchestrator([in_a_hurry])
    with SyncClient(quiet_books.settings) as client:
        client.start(in_a_hurry, "a", id="a")
        eventually(lambda: quiet_books.rows("SELECT 1 FROM amends.journal"), 30, "the first turn")
        stop()  # At once: its second runs, and a Kafka that has just started takes longer than that.
        quiet_books.participants([ledger])
        booked = "SELECT 1 FROM bookings"
        eventually(lambda: quiet_books.rows(booked) and outbox_is_empty(quiet_books), 30, "the answer in Kafka")
        late = "SELECT 1 FROM amends.journal WHERE to_timestamp(wake_us / 1e6) < now()"
        eventually(lambda: quiet_books.rows(late), 30, "the time that is up")
        quiet_books.orchestrator([in_a_hurry])
        assert client.run(in_a_hurry, "a", id="a", timeout=deadline(30)) == "posted 10"
    assert quiet_books.rows("SELECT amount FROM bookings") == [(10,)]
