"""Rule 18. Code that decides otherwise than its journal says is stopped before anything leaves: the saga is put aside
with a report that says where, what was and what would be, and goes on when the right code is back. Every test looks.
"""

import itertools

import pytest

from orchestrator import Saga, SyncClient, limits, saga
from orchestrator.engine.batch import Batch
from orchestrator.engine.replay_sample import ReplaySample
from orchestrator.engine.turns import Start
from orchestrator.testing import Simulation
from tests.deadlines import eventually
from tests.integration.engine.kit import System
from tests.integration.engine.program import Go
from tests.rules.inside import NOBODY, SHARD, Inside, kinds
from tests.unit.core.shop import Print

CALLS = itertools.count()


@saga(name="labels")
async def as_it_began(s: Saga, _: int) -> str:
    await s.call(Print(order="1"))
    return await s.call(Print(order="2"))


@saga(name="labels")
async def changed_under_it(s: Saga, _: int) -> str:
    await s.call(Print(order="another"))  # the changed line
    return await s.call(Print(order="2"))


@saga
async def remembers(s: Saga, _: int) -> None:
    s.set("seen", next(CALLS))
    await s.receive(Go)


@saga
async def hidden_state(s: Saga, _: int) -> str:
    return await s.call(Print(order=str(next(CALLS))))


def blocked() -> tuple[Inside, Inside]:
    """An orchestrator with the code as it was, and one with the changed code that has taken over."""
    before, after = Inside(as_it_began), Inside(changed_under_it)
    before.start(as_it_began, 0, "s")
    after.take_over(before, "s")
    return before, after


def test_the_saga_is_put_aside_and_nothing_leaves() -> None:
    _, after = blocked()
    writes = after.come(after.succeeded("s", 0, Print, "label"))
    assert (writes.turns, writes.outbox, writes.steps) == ([], [], [])
    assert [move.after for move in writes.moves.values()] == ["blocked"]
    assert len(writes.held) == 1  # the answer is not lost
    assert after.resident("s").live is None


def test_the_report_says_where_what_was_and_what_would_be() -> None:
    _, after = blocked()
    (move,) = after.come(after.succeeded("s", 0, Print, "label")).moves.values()
    assert move.problem is not None
    report = move.problem.text
    line = changed_under_it.function.__code__.co_firstlineno + 2
    for part in ("position 0", '"order": "1"', '"order": "another"', f"test_rule_18_mismatch.py:{line}", "unblock s"):
        assert part in report, report


def test_with_the_right_code_it_goes_on_where_it_was() -> None:
    before, after = blocked()
    held = [entry for _, entry in after.come(after.succeeded("s", 0, Print, "label")).held]
    fixed = Inside(as_it_began)
    fixed.take_over(before, "s")
    resident, batch = fixed.resident("s"), Batch()
    live, resident.live, resident.status = resident.live, None, "blocked"
    assert fixed.turns.unblock(batch, resident, live, [], held) == "done"
    assert (len(batch.of(SHARD).turns), kinds(batch.of(SHARD).outbox)) == (1, ["command"])
    assert [(move.before, move.after) for move in batch.of(SHARD).moves.values()] == [("blocked", "running")]


def test_every_turn_of_a_test_is_replayed_and_compared(sim: Simulation) -> None:
    sim.fake(Print).answer("label")
    with pytest.raises(AssertionError, match="journal position 0: recorded"):
        sim.start(hidden_state, 0)


def test_in_production_a_turn_now_and_then_is_replayed_and_its_saga_put_aside(system: System) -> None:
    system.relay()
    system.orchestrator([remembers, as_it_began], replay_every_turns=2)
    with SyncClient(system.settings) as client:
        for id in ("one", "two"):
            client.start(remembers, 0, id=id)
        blocked = "SELECT problem FROM amends.sagas WHERE status = 'blocked'"
        ((problem,),) = eventually(lambda: system.rows(blocked), 30, "the one that was compared")
        assert "ReplayMismatch" in problem
        assert "journal position 0: recorded" in problem
        assert "test_rule_18_mismatch.py:" in problem
        # What comes for it is held; the other one, which nobody looked at, goes on.
        for id in ("one", "two"):
            client.send(id, Go())
        eventually(lambda: system.rows("SELECT 1 FROM amends.held_entries"), 30, "held")
        ended = "SELECT 1 FROM amends.sagas WHERE status = 'completed'"
        eventually(lambda: system.rows(ended), 30, "the end of the other")


def sampled(every: int, *sizes: int) -> list[str]:
    """Who is taken of batches of these sizes, one saga a turn."""
    inside, length = Inside(as_it_began), 0
    sample = ReplaySample(every, inside.registry, inside.cache.row_of, NOBODY, lambda: None)
    for size in sizes:
        batch = Batch()
        for _ in range(size):
            length += 1
            inside.turns.start(batch, Start(inside.saga_row(as_it_began, 0, "s" * length)), [], inside.raw("s"))
        sample.committed(batch)
    return [str(len(sample._waiting.get_nowait().id)) for _ in range(sample._waiting.qsize())]


def test_it_is_one_turn_in_so_many_however_the_batches_fall() -> None:
    assert sampled(3, 10) == sampled(3, 1, 1, 1, 4, 3) == ["3", "6", "9"]
    assert sampled(1, 2, 1) == ["1", "2", "3"]
    assert sampled(0, 10) == []
    assert len(sampled(1, limits.REPLAYS_WAITING_MAX + 5)) == limits.REPLAYS_WAITING_MAX
