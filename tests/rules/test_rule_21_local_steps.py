"""Rule 21. A local step leaves nothing behind before it runs, and needs nothing: whoever has the journal begins it anew
under its key, but nobody before the commit that made it possible. One that is late still runs, so there is no second
one beside it; a result that could not be stored is offered again, and the work is not done twice.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

from orchestrator import Retry, Saga, SyncClient, current_step, limits, saga
from orchestrator.core.decisions import StartStep
from orchestrator.core.replay import replay
from orchestrator.engine import batch as batches
from orchestrator.engine import fence
from orchestrator.engine.batch import Batch
from orchestrator.engine.step_starts import StepStarts
from orchestrator.engine.steps import StepEnd, StepRunner
from orchestrator.engine.turns import Start
from orchestrator.engine.wakeups import Wakeups
from tests.deadlines import deadline, eventually
from tests.integration.engine.kit import System
from tests.integration.engine.program import transfer
from tests.rules.inside import SHARD, Inside, committer, owner
from tests.unit.core.shop import BUSY, SECOND, Driver, Print


def work(order: str) -> str:
    return f"{current_step().key} {order}"


def work_back(order: str) -> None:
    return None


@saga
async def works(s: Saga, _: int) -> str:
    try:
        return await s.step(work, "1", undo=work_back, retry=Retry(max_attempts=2), timeout=timedelta(seconds=5))
    except TimeoutError:
        return "too late"


@saga
async def calls_then_works(s: Saga, _: int) -> str:
    await s.call(Print(order="1"))
    return await s.step(work, "1")


def started(decisions) -> list[tuple[int, int, bool]]:
    """(seq, attempt, is an undo)"""
    return [(d.seq, d.attempt, d.undo_of is not None) for d in decisions if isinstance(d, StartStep)]


# ---- in the core -----------------------------------------------------------------------------------------------------


def test_who_has_the_journal_begins_it_again_under_its_key_until_its_end_is_in_it() -> None:
    driver = Driver(works, 0)
    assert started(replay(works, driver.identity, driver.rows).pending_steps()) == [(0, 1, False)]
    driver.feed(driver.step(0, "done"))
    assert replay(works, driver.identity, driver.rows).pending_steps() == ()


def test_a_late_step_still_runs_so_its_undo_waits_for_its_end() -> None:
    driver = Driver(works, 0)
    driver.feed(driver.timer())
    assert started(driver.all) == [(0, 1, False)]
    driver.feed(driver.step(0, "done at last"))
    assert [undo for _, _, undo in started(driver.all)] == [False, True]


def test_no_second_attempt_begins_before_the_first_has_ended() -> None:
    driver = Driver(works, 0)
    driver.now_us += 4 * SECOND
    assert driver.live.next_timer is not None
    assert driver.live.next_timer.due_us > driver.now_us  # nothing but the whole timeout is set
    driver.feed(driver.raised(0, BUSY))
    driver.feed(driver.timer())
    assert started(driver.all) == [(0, 1, False), (0, 2, False)]
    driver.ignored(driver.step(0, "a copy of the first", attempt=1))


# ---- where it runs ---------------------------------------------------------------------------------------------------


class Runner:
    """Steps that write down that they ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.ended: list[StepEnd] = []
        self.may_end = threading.Event()
        self.runner = StepRunner({}, self.ended.append)

    def start(self, attempt: int = 1) -> None:
        awaited = StepEnd(key=("u:0:1", attempt), saga_no=1, saga_id="s", shard=0, seq=1, attempt=attempt)
        step = StartStep(seq=1, attempt=attempt, name="work", kind="step", function=self.work, args=("1",))
        self.runner.start(awaited, "u:0:1", step)

    def work(self, order: str) -> str:
        self.ran.append(current_step().key)
        assert self.may_end.wait(deadline(10))
        return f"result {len(self.ran)}"

    def ends(self, count: int) -> list[object]:
        eventually(lambda: len(self.ended) == count, 10, f"{count} ends")
        return [end.body for end in self.ended]


def test_an_attempt_that_runs_is_not_begun_again() -> None:
    steps = Runner()
    steps.start()
    eventually(lambda: steps.ran, 10, "the step runs")
    steps.start()  # the shard was lost and claimed again meanwhile
    steps.may_end.set()
    steps.ends(1)
    steps.runner.close()
    assert steps.ran == ["u:0:1"]


def test_a_result_that_was_not_stored_is_offered_again_and_not_made_again() -> None:
    steps = Runner()
    steps.may_end.set()
    steps.start()
    assert steps.ends(1) == ["result 1"]
    steps.start()  # its commit has failed, the saga was loaded anew
    assert steps.ends(2) == ["result 1", "result 1"]
    steps.runner.kept(("u:0:1", 1))
    steps.start()
    assert steps.ends(3)[2] == "result 2"
    steps.runner.close()


def test_a_halted_step_does_nothing_more_and_the_lifespan_is_left_behind_it() -> None:
    """Between the two the shard is somebody else's, and the step runs there."""
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        yield
        seen.append("left")

    async def ticks(_: str) -> str:
        try:
            while True:
                seen.append("tick")
                await asyncio.sleep(0.001)
        finally:
            seen.append("ended")

    ended: list[StepEnd] = []
    runner = StepRunner({}, ended.append, lifespan)
    runner.open()
    awaited = StepEnd(key=("u:0:1", 1), saga_no=1, saga_id="s", shard=0, seq=1, attempt=1)
    runner.start(awaited, "u:0:1", StartStep(seq=1, attempt=1, name="t", kind="step", function=ticks, args=("1",)))
    eventually(lambda: len(seen) > 3, 10, "it runs")
    runner.halt()
    ticked = len(seen)
    time.sleep(0.05)  # in which it would have ticked
    assert len(seen) == ticked
    runner.close()
    assert seen[ticked:] in (["ended", "left"], ["left", "ended"])


def test_what_was_under_way_begins_in_portions_and_not_where_the_shard_is_lost_meanwhile(
    connection, engine_db, monkeypatch
) -> None:
    inside, ended = Inside(works), list[StepEnd]()
    starting = [inside.item(inside.outbound.start_again(inside.saga_row(works, 0, f"s{n}"))) for n in range(3)]
    committer(inside, owner(inside, connection), engine_db, lambda _: None).commit(connection, starting)
    inside.cache.drop_shards(frozenset({SHARD}))
    runner = StepRunner({}, ended.append)
    starts = StepStarts(inside.cache, runner, Wakeups())
    monkeypatch.setattr(limits, "BATCH_REPLAYS_MAX", 2)
    for n in range(3):
        starts.found(SHARD, f"s{n}")
    assert starts.begin_found(connection)
    eventually(lambda: len(ended) == 2, 10, "two of them have run")
    starts.forget({SHARD})
    assert not starts.begin_found(connection)
    runner.close()
    assert sorted(end.saga_id for end in ended) == ["s0", "s1"]


# ---- not before the commit -------------------------------------------------------------------------------------------


def test_nothing_begins_when_the_commit_did_not_happen(connection, engine_db) -> None:
    inside, begun = Inside(calls_then_works), list[Batch]()
    own = owner(inside, connection)
    hold = own.holds[SHARD]
    batch = Batch()
    inside.turns.start(batch, Start(inside.saga_row(calls_then_works, 0, "s")), [], inside.raw("s"))
    batches.commit(connection, batch, own.holds, lambda topic: 4)
    answer = inside.item(inside.succeeded("s", 0, Print, "label"))
    assert fence.claim(connection, {SHARD: hold.epoch}, uuid4())  # somebody else is the owner now
    committer(inside, own, engine_db, begun.append).commit(connection, [answer])
    assert begun == []
    assert (own.holds, inside.cache.get("s")) == ({}, None)  # and here it is forgotten


def test_killed_with_a_step_under_way_it_runs_again_under_its_key_and_counts_once(books: System) -> None:
    doomed = books.orchestrator_process(failpoints="step.transaction.before=kill@1")
    with SyncClient(books.settings) as client:
        client.start(transfer, "k", id="k")
        eventually(lambda: doomed.ended, 30, "the death inside a step")
        books.orchestrator_process()
        assert client.run(transfer, "k", id="k", timeout=deadline(30)) == 32
    assert len(books.rows("SELECT DISTINCT key FROM step_runs")) == 1
    assert books.rows("SELECT count(*)::int FROM debits") == [(1,)]
