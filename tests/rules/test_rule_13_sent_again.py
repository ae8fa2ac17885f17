"""Rule 13. What got no answer is asked again under its key, and whoever did it already only repeats what it said. If
Kafka lost all it had, everything open leaves Postgres once more: commands, undos and starts made anew, and what was
acknowledged by the lost topic whenever that is noticed.
"""

from itertools import pairwise
from uuid import uuid4

import psycopg
import pytest

from orchestrator import Retry, Saga, SyncClient, limits, saga
from orchestrator.core.decisions import SendCommand, SendUndo
from orchestrator.core.replay import replay
from orchestrator.engine import batch as batches
from orchestrator.engine import fence, sagas
from orchestrator.engine.batch import Batch
from orchestrator.engine.recovery import Recovery
from orchestrator.engine.turns import Start
from outbox_relay import sent
from outbox_relay.limits import SENT_KEPT_S
from tests.deadlines import deadline, eventually
from tests.integration.engine.kit import System
from tests.integration.engine.program import Post
from tests.integration.participant.bench import benched
from tests.integration.participant.shop import ReserveStock, stock
from tests.rules.inside import SHARD, Inside, committer, owner
from tests.unit.core.shop import NO, SECOND, Charge, Driver, Reserve


@saga
async def buys(s: Saga, _: int) -> None:
    await s.call(Reserve(sku="a"), retry=Retry(max_attempts=3, attempt_timeout_s=10))
    await s.call(Charge(amount=1), retry=Retry(max_attempts=5))


@saga
async def says(s: Saga, n: int) -> str:
    return f"{n} and more"


@saga
async def has_a_child(s: Saga, n: int) -> str:
    return await s.run(says, n, id="the child")


@saga
async def posts(s: Saga, _: int) -> int:
    return await s.call(Post(account="a", amount=10))


LOSE_REPLIES = """
    CREATE TABLE lost (key text);
    CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO lost VALUES (NEW.operation_key);
        RETURN NULL;
    END $$;
    CREATE TRIGGER lose BEFORE INSERT ON amends.outbox
        FOR EACH ROW WHEN (NEW.kind = 'reply') EXECUTE FUNCTION lose();
"""


def partitions(_topic: str) -> int:
    return 4


def test_silence_is_asked_again_under_the_same_number() -> None:
    driver = Driver(buys, 0)
    for _ in range(2):  # the attempt is over, the pause is over
        driver.feed(driver.timer())
    assert [(d.seq, d.attempt) for d in driver.all if isinstance(d, SendCommand)] == [(0, 1), (0, 2)]


@saga
async def waits_for_ever(s: Saga, _: int) -> None:
    await s.call(Charge(amount=1))


def test_a_call_without_any_limit_is_sent_again_and_no_attempt_is_burnt() -> None:
    driver = Driver(waits_for_ever, 0)
    sent_us: list[int] = [driver.now_us]
    for _ in range(8):
        (copy,) = driver.feed(driver.timer())
        assert isinstance(copy, SendCommand)
        assert (copy.seq, copy.attempt, copy.body) == (0, 1, {"amount": 1})
        sent_us.append(driver.now_us)
    assert driver.rows[-1][1] == {"op": "call", "seq": 0, "attempt": 1, "name": "ShopCharge", "again": 8}
    waits = [(later - earlier) // SECOND for earlier, later in pairwise(sent_us)]
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    driver.feed(driver.reply(0, {"charge": "c"}))
    assert driver.end.status == "completed"
    assert driver.live.next_timer is None


def test_it_is_not_sent_again_when_its_participant_may_have_forgotten_that_it_did_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Three days in place of thirty: every turn is replayed and compared, so 700 of them take long.
    monkeypatch.setattr(limits, "INBOX_HORIZON_S", 3 * limits.COMMAND_EXPIRES_S)
    driver = Driver(waits_for_ever, 0)
    began_us = driver.now_us
    while driver.live.next_timer is not None:
        driver.feed(driver.timer())
    last_s = (driver.now_us - began_us) / SECOND
    horizon_s = limits.INBOX_HORIZON_S - limits.COMMAND_EXPIRES_S
    assert horizon_s - limits.RESEND_MAX_S < last_s <= horizon_s


def test_where_the_next_attempt_or_the_end_of_patience_comes_first_no_copy_is_sent() -> None:
    driver = Driver(buys, 0)
    assert len(driver.live.timers()) == 1  # attempt_timeout_s=10
    driver.feed(driver.reply(0))
    assert len(driver.live.timers()) == 1  # a copy, for want of any other limit


def test_on_real_servers_a_lost_reply_is_had_by_asking_again(books: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RESEND_FIRST_S", 6.0)  # the least that a healthy outbox allows
    books.orchestrator([posts])
    books.execute(LOSE_REPLIES)
    with SyncClient(books.settings) as client:
        client.start(posts, 0, id="p")
        eventually(lambda: books.rows("SELECT 1 FROM lost"), 30, "the reply is lost")
        books.execute("DROP TRIGGER lose ON amends.outbox")
        assert client.result(posts, "p", timeout=deadline(60)) == 10
    assert books.rows("SELECT count(*)::int FROM bookings") == [(1,)]
    sent = "SELECT entry::text FROM amends.journal_entries WHERE entry->>'again' IS NOT NULL"
    assert len(books.rows(sent)) == 1


def test_whoever_has_the_journal_knows_what_is_open_and_nothing_else() -> None:
    driver = Driver(buys, 0)
    driver.feed(driver.reply(0))
    again = replay(buys, driver.identity, driver.rows)
    (command,) = again.pending_sends()
    assert isinstance(command, SendCommand)
    assert (command.seq, command.attempt, command.body) == (1, 1, {"amount": 1})
    driver.feed(driver.failed(1, NO))
    (undo,) = replay(buys, driver.identity, driver.rows).pending_sends()
    assert isinstance(undo, SendUndo)
    driver.feed(driver.undone(0))
    assert replay(buys, driver.identity, driver.rows).pending_sends() == ()


def test_when_the_topic_is_another_one_all_that_is_open_leaves_again(connection: psycopg.Connection) -> None:
    inside, batch = Inside(buys), Batch()
    inside.turns.start(batch, Start(inside.saga_row(buys, 0, "begun")), [], inside.raw("begun"))
    queued = inside.saga_row(buys, 0, "not begun")
    batch.of(SHARD).created.append(queued)
    [hold] = fence.claim(connection, {SHARD: 0}, uuid4())
    batches.commit(connection, batch, {SHARD: hold}, partitions)
    connection.execute("DELETE FROM amends.outbox")  # acknowledged by a Kafka that has lost it since
    hold.next_offset = 500
    Recovery(inside.registry, inside.outbound, partitions).send_again(connection, hold, "another topic", 0)
    rows = connection.execute(
        "SELECT kind, saga_id, operation_key, attempt FROM amends.outbox ORDER BY kind"
    ).fetchall()
    key = inside.resident("begun").row.identity.key(0)
    assert rows == [("command", "begun", key, 1), ("start", "not begun", None, None)]
    noted = connection.execute("SELECT topic_id, next_offset FROM amends.shards WHERE shard = %s", [SHARD]).fetchone()
    assert noted == ("another topic", 0)
    assert sagas.find(connection, ["not begun"])["not begun"].status == "queued"


def test_a_child_that_is_over_says_so_again_when_its_start_comes_again(connection, engine_db: str) -> None:
    """Its word may be lost with the topic: then the parent, which waits, sends the start once more."""
    inside = Inside(has_a_child, says)
    work = committer(inside, owner(inside, connection), engine_db, lambda _: None)
    inside.start(has_a_child, 0, "parent")
    (decision,) = inside.live("parent").pending_sends()
    (start,) = inside.outbound.rows(inside.resident("parent").row, decision)
    for _ in range(2):
        work.commit(connection, [inside.item(start)])
        inside.cache.drop("the child")
    told = connection.execute("SELECT payload FROM amends.outbox WHERE kind = 'child_ended'").fetchall()
    assert len(told) == 2
    assert told[0] == told[1]
    assert connection.execute("SELECT status FROM amends.sagas WHERE id = 'the child'").fetchall() == [("completed",)]


def test_what_the_lost_topic_had_acknowledged_goes_out_again_whenever_it_is_seen(connection) -> None:
    sent.make_partitions(connection, SENT_KEPT_S)

    def acknowledged(key: str, topic_id: str) -> None:
        connection.execute(
            """INSERT INTO amends.outbox_sent
                (topic_id, seq, id, aggregatetype, aggregateid, type, "timestamp", partition, kind)
            VALUES (%s, 1, gen_random_uuid(), 'orders', %s, 'OrderPaid', now(), 0, 'event')""",
            [topic_id, key],
        )

    acknowledged("o1", "old")
    acknowledged("o2", "new")
    assert sent.resend_lost(connection, "orders", "new") == 1
    acknowledged("o3", "old")  # an ack of the dead topic that was noted only now
    assert sent.resend_lost(connection, "orders", "new") == 1
    rows = connection.execute("SELECT aggregateid FROM amends.outbox ORDER BY seq").fetchall()
    assert rows == [("o1",), ("o3",)]


async def test_whoever_did_it_says_again_what_it_said(inbox, inbox_url) -> None:
    key, command = inbox.new_key(), ReserveStock(order_id="o1")
    async with benched(stock, inbox_url) as bench:
        for attempt in (1, 1, 2):
            await bench.handle(inbox.command_row(key, command, attempt))
    assert [(a.outcome, a.value) for a in inbox.answers(key)] == [("succeeded", {"reservation": "r-o1"})] * 3
    assert inbox.one("SELECT available FROM stock WHERE item = 'book'") == 999
