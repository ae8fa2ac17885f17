"""Rule 2. A yes or a final no ends the operation whichever attempt brought it; "try again" speaks of its own attempt
alone. An answer that nobody waits for leaves no trace in the journal, but is counted.
"""

from dataclasses import replace

from orchestrator import Retry, Saga, saga
from orchestrator.core.decisions import SendCommand
from tests.rules.inside import SHARD, Inside
from tests.unit.core.shop import BUSY, NO, Charge, Driver, Print


@saga
async def persistent(s: Saga, _: int) -> str:
    return (await s.call(Charge(amount=45), retry=Retry(max_attempts=3))).charge


@saga
async def prints(s: Saga, _: int) -> str:
    await s.call(Print(order="1"))
    return await s.call(Print(order="2"))


def at_the_second_attempt() -> Driver:
    driver = Driver(persistent, 0)
    driver.feed(driver.retry(0, BUSY))
    driver.feed(driver.timer())
    return driver


def test_copies_of_an_old_try_again_burn_no_attempt() -> None:
    driver = at_the_second_attempt()
    for _ in range(5):
        driver.ignored(driver.retry(0, BUSY, attempt=1))
    assert [d.attempt for d in driver.all if isinstance(d, SendCommand)] == [1, 2]
    driver.feed(driver.reply(0, {"charge": "c"}, attempt=2))
    assert driver.end.result == "c"


def test_a_yes_of_the_first_attempt_counts_while_the_second_is_out() -> None:
    driver = at_the_second_attempt()
    driver.feed(driver.reply(0, {"charge": "first"}, attempt=1))
    assert driver.end.result == "first"


def test_a_final_no_of_the_first_attempt_counts_while_the_second_is_out() -> None:
    driver = at_the_second_attempt()
    driver.feed(driver.failed(0, NO, attempt=1))
    assert driver.end.status == "failed"


def test_an_answer_to_an_attempt_that_was_never_made_counts_for_nothing() -> None:
    driver = at_the_second_attempt()
    driver.ignored(driver.reply(0, {"charge": "from the future"}, attempt=3))


def test_what_nobody_waits_for_is_counted_and_not_journaled() -> None:
    inside = Inside(prints)
    inside.start(prints, 0, "p")
    once = inside.succeeded("p", 0, Print, "label")
    writes = inside.come(once, once, inside.succeeded("p", 7, Print, "nobody's"), once)
    assert len(writes.turns) == 1
    assert sum(count for count, _ in writes.ignored.values()) == 3
    assert inside.live("p").position == 2


def test_an_answer_in_another_partition_is_sent_on_and_counts_there_and_a_forged_one_is_only_counted() -> None:
    inside = Inside(prints)
    inside.start(prints, 0, "p")
    answer = inside.succeeded("p", 0, Print, "label")
    forged = replace(answer, headers={**answer.headers, "nonce": "0" * 32})
    assert inside.come_astray(forged, SHARD + 1).of(SHARD + 1).outbox == []
    batch = inside.come_astray(answer, SHARD + 1)
    (sent,) = batch.of(SHARD + 1).outbox
    assert (batch.shards.keys(), sent.partition) == ({SHARD + 1}, SHARD)
    assert len(inside.come(sent).turns) == 1
