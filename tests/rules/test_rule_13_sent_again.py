"""Rule 13. What got no answer is asked again under its key, and whoever did it already only repeats what it said. If
Kafka lost all it had, everything open leaves Postgres once more: commands, undos and starts made anew, and what was
acknowledged by the lost topic whenever that is noticed.
"""

from uuid import uuid4

import psycopg

from orchestrator import Retry, Saga, saga
from orchestrator.core.decisions import SendCommand, SendUndo
from orchestrator.core.replay import replay
from orchestrator.engine import batch as batches
from orchestrator.engine import fence, sagas
from orchestrator.engine.batch import Batch
from orchestrator.engine.recovery import Recovery
from orchestrator.engine.turns import Start
from outbox_relay import sent
from tests.integration.participant.bench import benched
from tests.integration.participant.shop import ReserveStock, stock
from tests.rules.inside import SHARD, Inside
from tests.unit.core.shop import NO, Charge, Driver, Reserve


@saga
async def buys(s: Saga, _: int) -> None:
    await s.call(Reserve(sku="a"), retry=Retry(max_attempts=3, attempt_timeout_s=10))
    await s.call(Charge(amount=1), retry=Retry(max_attempts=5))


def partitions(_topic: str) -> int:
    return 4


def test_silence_is_asked_again_under_the_same_number() -> None:
    driver = Driver(buys, 0)
    for _ in range(2):  # the attempt is over, the pause is over
        driver.feed(driver.timer())
    assert [(d.seq, d.attempt) for d in driver.all if isinstance(d, SendCommand)] == [(0, 1), (0, 2)]


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
    inside.turns.start(batch, Start(inside.saga_row(buys, 0, "begun")), [], inside._letter("begun"))
    queued = inside.saga_row(buys, 0, "not begun")
    batch.of(SHARD).created.append(queued)
    hold = fence.claim(connection, SHARD, 0, uuid4())
    assert hold is not None
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


def test_what_the_lost_topic_had_acknowledged_goes_out_again_whenever_it_is_seen(connection) -> None:
    connection.execute(sent.PARTITIONS, sent.partitions_params())

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
