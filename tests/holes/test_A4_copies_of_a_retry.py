"""A4, MONEY: a copy of the first attempt's "try again" was taken for the second's, and the operation "failed" while the
charge succeeded; or the inbox took "try again" for its answer and repeated it to every later attempt.
"""

from orchestrator import Retry, Saga, saga
from orchestrator.engine.processing import Known
from orchestrator.engine.wakeups import DueTimer
from tests.deadlines import eventually
from tests.integration.participant.bench import benched
from tests.integration.participant.conftest import aside
from tests.integration.participant.shop import ChargeCard, make_payments
from tests.rules.inside import NOBODY, SHARD, Inside, kinds
from tests.unit.core.shop import BUSY, Charge


@saga
async def charges(s: Saga, _: int) -> str:
    return (await s.call(Charge(amount=45), retry=Retry(max_attempts=2))).charge


def test_a_batch_full_of_copies_burns_no_attempt() -> None:
    inside = Inside(charges)
    inside.start(charges, 0, "s")
    again = inside.refused("s", 0, "retry", BUSY)
    writes = inside.come(again, again, again)
    assert len(writes.turns) == 1
    assert sum(count for count, _ in writes.ignored.values()) == 2
    resident, timer = inside.resident("s"), inside.live("s").next_timer
    assert timer is not None
    inside.now_us = timer.due_us
    due = DueTimer(resident.row.saga_no, "s", SHARD, timer.number)
    fired = inside._batch(lambda batch: inside.processing.process(batch, due, Known({}, {}), NOBODY))
    assert [row.headers["attempt"] for row in fired.outbox] == ["2"]
    writes = inside.come(again, again)  # the relay died between the ack and the delete: here they are once more
    assert (writes.turns, kinds(writes.outbox)) == ([], [])
    inside.come(inside.succeeded("s", 0, Charge, {"charge": "c"}, attempt=2))
    assert inside.resident("s").status == "completed"


async def test_try_again_is_an_answer_to_its_own_attempt_only(inbox, inbox_url, gateway) -> None:
    gateway.script.extend(("slow_down", "slow_down"))
    key, command = inbox.new_key(), ChargeCard(order_id="o1")
    async with benched(make_payments(), inbox_url) as bench:
        for n, attempt in enumerate((1, 1, 2, 2, 3, 3, 1), start=1):
            await bench.handle(inbox.command_row(key, command, attempt))
            if n in (1, 3, 5):  # the others are copies: they are answered or not, but begin nothing
                await aside(_ended, inbox, key, attempt)
        calls = gateway.count("charge")
    outcomes = [(a.attempt, a.outcome) for a in inbox.answers(key)]
    assert {o for a, o in outcomes if a == 2} == {"retry"}
    assert {o for a, o in outcomes if a == 3} == {"succeeded"}
    assert (calls, gateway.net()) == (3, 1)


def _ended(inbox, key: str, attempt: int) -> None:
    eventually(lambda: [a for a in inbox.answers(key) if a.attempt == attempt], 15, f"an answer to attempt {attempt}")
    inbox.until(key, "retryable", "done")
