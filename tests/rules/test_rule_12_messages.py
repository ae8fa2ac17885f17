"""Rule 12. No message is lost and none counts twice: what comes before its saga waits for it, what comes during it is
received in the order of arrival, what comes again is known by its id, what comes too late lies where people find it.
"""

from dataclasses import replace

import psycopg

from orchestrator import Saga, saga
from orchestrator.core.replay import replay
from orchestrator.engine import mail
from orchestrator.engine.batch import Batch
from orchestrator.engine.cache import Resident
from orchestrator.engine.processing import Known
from orchestrator.engine.turns import Start
from orchestrator.engine.verbs import Verb
from orchestrator.problems import Problem
from tests.rules.inside import NOBODY, SHARD, Inside
from tests.unit.core.shop import Driver, Paid, Refused


@saga
async def two_payments(s: Saga, _: int) -> str:
    first = await s.receive(Paid)
    second = await s.receive(Paid)
    return f"{first.reference} {second.reference}"


@saga
async def over_at_once(s: Saga, _: int) -> None:
    return None


def paid(n: int) -> Paid:
    return Paid(reference=str(n))


def waiting(n: int) -> mail.Waiting:
    return mail.Waiting("s", f"00000000-0000-0000-0000-{n:012}", "ShopPaid", "", {"reference": str(n)})


def test_they_are_received_in_the_order_of_arrival_also_those_that_nobody_waited_for_yet() -> None:
    @saga
    async def slow_reader(s: Saga, _: int) -> list[str]:
        await s.receive(Refused)
        return [(await s.receive(Paid)).reference for _ in range(3)]

    driver = Driver(slow_reader, 0)
    for n in (1, 2, 3):
        driver.feed(driver.message(paid(n), id=f"m{n}"))
    driver.feed(driver.message(Refused(reason="now read"), id="m4"))
    assert driver.end.result == ["1", "2", "3"]


def test_a_double_counts_once_however_late_and_after_any_crash() -> None:
    driver = Driver(two_payments, 0)
    driver.feed(driver.message(paid(1), id="webhook-1"))
    driver.live = replay(two_payments, driver.identity, driver.rows)
    driver.ignored(driver.message(paid(1), id="webhook-1"))
    driver.feed(driver.message(paid(2), id="webhook-2"))
    assert driver.end.result == "1 2"


def test_what_comes_before_its_saga_is_kept_and_delivered_with_the_start() -> None:
    inside = Inside(two_payments)
    early = inside.come(inside.message("s", paid(1), "m1"))
    assert [m.body for m in early.kept] == [{"reference": "1"}]
    assert (early.ignored, early.letters) == ({}, [])
    begun = inside.start(two_payments, 0, "s", waiting(1), waiting(2))
    assert begun.delivered == ["s"]
    assert [move.result for move in begun.moves.values()] == ['"1 2"']


def test_what_comes_in_another_partition_is_sent_on_to_its_saga_and_no_turn_is_made_of_it_here() -> None:
    """The saga's shard may be another orchestrator's: a turn of it could not be written here, and is lost."""
    inside = Inside(two_payments)
    inside.start(two_payments, 0, "s")
    astray = inside.come_astray(inside.message("s", paid(1), "m1"), SHARD + 1)
    assert astray.shards.keys() == {SHARD + 1}
    writes = astray.of(SHARD + 1)
    (sent,) = writes.outbox
    assert (sent.partition, sent.headers["kind"], writes.turns) == (SHARD, "message", [])
    assert writes.ignored == {"in a partition that is not its saga's: sent on": (1, "s")}
    assert inside.come(inside.message("s", paid(1), "m1")).turns
    assert inside.come(sent).ignored == {"a message that came before": (1, "s")}  # under the id that it had
    assert inside.come(inside.message("s", paid(2), "m2")).moves


def test_what_comes_in_another_partition_and_can_not_be_sent_on_is_a_dead_letter() -> None:
    inside = Inside(two_payments)
    inside.start(two_payments, 0, "s")
    no_row = replace(inside.message("s", paid(1), "m1"), type="x" * 300)
    writes = inside.come_astray(no_row, SHARD + 1).of(SHARD + 1)
    assert (writes.outbox, [letter.saga_id for letter in writes.letters]) == ([], ["s"])
    assert "its saga is in 2" in writes.letters[0].error


def test_what_comes_after_the_end_is_a_dead_letter_with_all_that_is_needed_to_send_it_again() -> None:
    inside = Inside(over_at_once)
    inside.start(over_at_once, 0, "s")
    late = inside.message("s", paid(1), "m1")
    (letter,) = inside.come(late).letters
    assert (letter.saga_id, letter.payload) == ("s", late.payload)
    assert "is over (completed)" in letter.error


def test_what_comes_for_a_saga_out_of_service_is_held() -> None:
    inside = Inside(two_payments)
    writes = inside.start(two_payments, 0, "s")
    inside.turns._block(writes, inside.resident("s"), Problem(kind="error", type="X"), None)
    assert [entry.message_id for _, entry in inside.come(inside.message("s", paid(1), "m1")).held]


def test_what_came_before_the_start_of_a_saga_that_nobody_could_run_waits_for_its_unblocking(connection) -> None:
    """The client is deployed before the orchestrator that knows the saga's new version."""
    connection.execute(mail.KEEP, mail.keep_params([waiting(1), waiting(2)]))
    old = Inside()
    old.start(two_payments, 0, "s", waiting(1), waiting(2))
    assert old.resident("s").status == "blocked"
    deployed = Inside(two_payments)
    deployed.cache.put(Resident(old.resident("s").row, "blocked"))
    batch = Batch()
    deployed.processing.process(batch, Verb(1, "s", SHARD, "unblock", ""), Known({}, {}), connection)
    assert deployed.resident("s").status == "completed"
    assert batch.of(SHARD).delivered == ["s"]


def test_the_mailbox_keeps_the_order_and_knows_doubles(connection: psycopg.Connection) -> None:
    for batch in ([waiting(2), waiting(1)], [waiting(2), waiting(3)]):
        connection.execute(mail.KEEP, mail.keep_params(batch))
    assert mail.waiting(connection, ["s"]) == {"s": [waiting(2), waiting(1), waiting(3)]}


def test_a_message_and_its_sagas_start_may_come_in_one_batch() -> None:
    inside, batch = Inside(two_payments), Batch()
    row = inside.saga_row(two_payments, 1, "s")
    inside.processing.process(batch, inside.item(inside.message("s", paid(1), "m1")), Known({}, {}), NOBODY)
    inside.turns.start(batch, Start(row), [], inside.raw("s"))
    writes = batch.of(SHARD)
    assert [turn.pos for turn in writes.turns] == [0, 1]
    assert writes.kept == []
