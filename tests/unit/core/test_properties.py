"""Properties of generated sagas: the books balance whatever is lost, doubled, reordered, killed (rules 2-7, 15-18)."""

import os
from itertools import count
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.core.programs import Program, World, labels_of

EXAMPLES = int(os.environ.get("AMENDS_EXAMPLES", "40"))
OUTCOMES = ("no", "busy", "later", "lost", "lost after the effect", "silent after the effect", "silent")
SETTINGS = settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def named(node: Any, numbers: "count[int]") -> Any:
    """Gives each label a number of its own."""
    if node == "?":
        return f"L{next(numbers)}"
    return [named(part, numbers) for part in node] if isinstance(node, list | tuple) else node


def programs(*, timed: bool) -> st.SearchStrategy[Program]:
    patience = st.sampled_from([None, 3.0, 40.0] if timed else [None])
    leaves = st.one_of(
        st.tuples(st.just("call"), st.just("?"), patience),
        st.tuples(st.just("step"), st.just("?"), patience),
        st.tuples(st.just("look"), st.just("?")),
        st.tuples(st.just("sleep"), st.sampled_from([0.0, 1.0, 10.0])),
        *([st.tuples(st.just("fail"))] if timed else []),
    )

    def wider(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        several = st.lists(inner, min_size=1, max_size=4)
        kinds = [
            st.tuples(st.just("seq"), several),
            st.tuples(st.just("gather"), several, st.booleans()),
            st.tuples(st.just("group"), several),
            st.tuples(st.just("scope"), inner, st.sampled_from(["", "keep", "undo"] if timed else ["", "undo"])),
            st.tuples(st.just("catch"), inner),
        ]
        if timed:
            kinds += [
                st.tuples(st.just("race"), several),
                st.tuples(st.just("timeout"), st.sampled_from([2.0, 20.0]), inner),
                st.tuples(st.just("background"), inner),
                st.tuples(st.just("tidy"), inner, st.just("?")),
            ]
        return st.one_of(*kinds)

    trees = st.recursive(leaves, wider, max_leaves=10)
    return trees.map(lambda tree: ["seq", [named(tree, count()), ["look", "end"]]])


def behaviours(draw: Any, program: Program) -> dict[str, list[str]]:
    labels = sorted(set(labels_of(program)))
    return {label: draw(st.lists(st.sampled_from(OUTCOMES), max_size=3)) for label in labels}


@SETTINGS
@given(data=st.data(), program=programs(timed=True), seed=st.integers(0, 2**32))
def test_the_books_balance_and_every_cut_replays(data: st.DataObject, program: Program, seed: int) -> None:
    world = World(program, behaviours(data.draw, program), Random(seed))
    try:
        world.run(cancel_at=data.draw(st.none() | st.integers(0, 30)))
        world.check_books(program)
        world.check_replays()
    finally:
        world.live.evict()


@SETTINGS
@given(data=st.data(), program=programs(timed=True), seed=st.integers(0, 2**32))
def test_the_books_balance_over_crashes(data: st.DataObject, program: Program, seed: int) -> None:
    world = World(program, behaviours(data.draw, program), Random(seed))
    try:
        world.run(cancel_at=data.draw(st.none() | st.integers(0, 30)), crash_share=0.15)
        world.check_books(program)
    finally:
        world.live.evict()


@SETTINGS
@given(program=programs(timed=False), seeds=st.tuples(st.integers(0, 2**32), st.integers(0, 2**32)))
def test_any_order_and_number_of_deliveries_gives_the_same_outcome(program: Program, seeds: tuple[int, int]) -> None:
    """Of sagas in which nothing races: participants answer, no time runs out."""
    outcomes = []
    for seed in seeds:
        world = World(program, {}, Random(seed), wild=False)
        world.run()
        world.check_books(program)
        assert world.finish is not None
        outcomes.append((world.finish.status, world.finish.result))
        world.live.evict()
    assert outcomes[0] == outcomes[1]
