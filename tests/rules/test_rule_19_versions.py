"""Rule 19. A saga ends with the version of the function that it began with. Where that is missing it waits, out of
service, and nobody runs another one in its place.
"""

import pytest

from orchestrator import Saga, saga
from orchestrator.core.registry import Registry
from orchestrator.errors import DefinitionError
from tests.rules.inside import Inside, kinds
from tests.unit.core.shop import Charge, Print, Reserve


@saga(name="order", version=1)
async def order_1(s: Saga, _: int) -> str:
    await s.call(Print(order="1"))
    await s.call(Reserve(sku="as in version 1"))
    return "one"


@saga(name="order", version=2)
async def order_2(s: Saga, _: int) -> str:
    await s.call(Print(order="1"))
    await s.call(Charge(amount=2))
    return "two"


@saga(name="order", version=1)
async def another_order_1(s: Saga, _: int) -> str:
    return "one"


def test_it_ends_with_the_version_that_it_began_with_while_new_ones_begin_with_the_new() -> None:
    old, deployed = Inside(order_1), Inside(order_1, order_2)
    old.start(order_1, 0, "old")
    deployed.take_over(old, "old")
    deployed.start(order_2, 0, "a new one")
    for id, following in (("old", "ShopReserve"), ("a new one", "ShopCharge")):
        (row,) = deployed.come(deployed.succeeded(id, 0, Print, "label")).outbox
        assert row.type == following


def test_without_its_version_it_is_put_aside_and_nothing_else_runs() -> None:
    old, deployed = Inside(order_1), Inside(order_2)
    old.start(order_1, 0, "old")
    deployed.take_over(old, "old")
    writes = deployed.come(deployed.succeeded("old", 0, Print, "label"))
    assert (writes.turns, kinds(writes.outbox), len(writes.held)) == ([], [], 1)
    (move,) = writes.moves.values()
    assert move.problem is not None
    assert (move.after, move.problem.type) == ("blocked", "UnknownSaga")
    assert "of version 1" in move.problem.text
    assert "unblock old" in move.problem.text


def test_a_start_of_a_version_that_is_not_here_waits_too() -> None:
    inside = Inside(order_2)
    writes = inside.start(order_1, 0, "s")
    assert (writes.turns, [move.after for move in writes.moves.values()]) == ([], ["blocked"])


def test_one_version_has_one_function() -> None:
    with pytest.raises(DefinitionError, match="another name= or version="):
        Registry([order_1, order_2, another_order_1])
