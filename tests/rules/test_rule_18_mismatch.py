"""Rule 18. Code that decides otherwise than its journal says is stopped before anything leaves: the saga is put aside
with a report that says where, what was and what would be, and goes on when the right code is back. Every test looks.
"""

import itertools

import pytest

from orchestrator import Saga, saga
from orchestrator.engine.batch import Batch
from orchestrator.testing import Simulation
from tests.rules.inside import SHARD, Inside, kinds
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
