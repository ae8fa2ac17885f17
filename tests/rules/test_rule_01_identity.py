"""Rule 1. A key stands for one request and never for two: not over retries, replays, siblings, a second life of that id
or another run. Who sends something else under a key that was used is told so, and its saga is put out of service.
"""

import asyncio
import json

from orchestrator import Retry, Saga, saga
from orchestrator.core.decisions import SendCommand
from orchestrator.core.entries import Entry
from orchestrator.core.ids import OperationKey, SagaIdentity
from orchestrator.core.replay import replay
from orchestrator.engine.batch import Batch, ShardWrites
from orchestrator.problems import Problem
from tests.integration.participant.bench import benched
from tests.integration.participant.shop import ReserveStock, stock
from tests.rules.inside import SHARD, Inside
from tests.unit.core.shop import BUSY, LOST, NO, Charge, Driver, Reserve


@saga
async def many_requests(s: Saga, _: int) -> None:
    await asyncio.gather(*(s.call(Charge(amount=n), retry=Retry(max_attempts=5)) for n in (1, 2, 3)))
    await s.call(Charge(amount=1))  # the same words again are another request


@saga
async def past_the_pivot(s: Saga, _: int) -> None:
    s.pivot()
    await s.call(Reserve(sku="a"), retry=Retry.never)


def requests(driver: Driver) -> list[tuple[str, str, int]]:
    """(key, what is asked, attempt) of every command that left."""
    sends = [d for d in driver.all if isinstance(d, SendCommand)]
    return [(driver.identity.key(d.seq), json.dumps([d.type, d.body]), d.attempt) for d in sends]


def test_a_key_keeps_its_request_over_all_attempts_and_every_request_has_its_own() -> None:
    driver = Driver(many_requests, 0)
    for attempt, problem in ((1, BUSY), (2, LOST)):
        for seq in range(3):
            driver.feed(driver.retry(seq, problem, attempt=attempt))
        for _ in range(3):
            driver.feed(driver.timer())
    for seq in range(3):
        driver.feed(driver.reply(seq, {"charge": "c"}, attempt=3))
    sent = requests(driver)
    assert len(sent) == 10
    assert len({(key, said) for key, said, _ in sent}) == len({key for key, _, _ in sent}) == 4
    assert sorted(attempt for key, _, attempt in sent if key == sent[0][0]) == [1, 2, 3]


def test_a_second_saga_of_that_id_and_another_run_of_it_share_no_key() -> None:
    lives = [SagaIdentity("order-1", f"uid-{n}", "checkout", 1, 0, run=run) for n in (1, 2) for run in (0, 1)]
    keys = [life.key(seq) for life in lives for seq in range(3)]
    assert len(set(keys)) == len(keys)
    assert OperationKey.parse(lives[1].key(7)) == OperationKey("uid-1", 1, 7)


def test_what_a_person_repeats_keeps_its_key_only_while_nobody_knows_whether_it_happened() -> None:
    for problem, keys in ((LOST, 1), (NO, 2)):
        driver = Driver(past_the_pivot, 0)
        driver.feed(driver.failed(1, problem))
        driver.feed(driver.verb("retry"))
        assert len({key for key, _, _ in requests(driver)}) == keys, problem.effect


def test_the_word_conflict_quarantines_the_saga() -> None:
    inside = Inside(many_requests)
    inside.start(many_requests, 0, "order-1")
    other = Problem(kind="error", type="KeyConflict", text="another body")
    writes = inside.come(inside.refused("order-1", 0, "conflict", other))
    assert inside.resident("order-1").status == "blocked"
    assert (writes.turns, writes.outbox) == ([], [])
    (move,) = writes.moves.values()
    assert move.problem is not None
    assert "another command under this key" in move.problem.text
    assert "another body" in move.problem.text


def unblocked(inside: Inside, held: list[Entry]) -> ShardWrites:
    """Go on with what the journal says, and what was held."""
    resident, batch = inside.resident("order-1"), Batch()
    live = replay(many_requests, resident.row.identity, inside.journals[resident.row.saga_no])
    inside.turns.unblock(batch, resident, live, [], held)
    return batch.of(SHARD)


def test_after_unblock_the_participant_is_asked_again_and_its_word_quarantines_again() -> None:
    inside = Inside(many_requests)
    inside.start(many_requests, 0, "order-1")
    conflict = inside.refused("order-1", 0, "conflict", Problem(kind="error", type="KeyConflict", text="another body"))
    inside.come(conflict)
    ((_, held),) = inside.come(inside.succeeded("order-1", 1, Charge, {"charge": "c"})).held
    first = inside.item(conflict).came.entry
    writes = unblocked(inside, [first, held])
    assert len(writes.turns) == 1  # the answer that was held, and no `failed`
    asked = [(row.headers["operation_key"], row.headers["attempt"]) for row in writes.outbox]
    assert asked == [(inside.resident("order-1").row.identity.key(seq), "1") for seq in (0, 2)]
    inside.journals[inside.resident("order-1").row.saga_no] += [json.loads(row.body) for row in writes.turns]
    assert inside.come(conflict).turns == []
    assert inside.resident("order-1").status == "blocked"


async def test_the_inbox_answers_conflict_to_another_body_and_does_nothing(inbox, inbox_url) -> None:
    key = inbox.new_key()
    async with benched(stock, inbox_url) as bench:
        await bench.handle(inbox.command_row(key, ReserveStock(order_id="o1")))
        await bench.handle(inbox.command_row(key, ReserveStock(order_id="o1", quantity=2), 2))
        await bench.handle(inbox.command_row(key, ReserveStock(order_id="o1"), 3))
    assert [(a.outcome, a.attempt) for a in inbox.answers(key)] == [("succeeded", 1), ("conflict", 2), ("succeeded", 3)]
    assert inbox.one("SELECT available FROM stock WHERE item = 'book'") == 999
