"""C3, MONEY: thrown out of memory, a saga's `finally` called REFUND; left to the garbage collector, it did so within
another saga's turn.
"""

import gc

import pytest

from orchestrator import Saga, saga
from orchestrator.engine.batch import Batch
from tests.rules.inside import SHARD, Inside, kinds
from tests.unit.core.shop import Charge, Paid, Print, Reserve

ran: list[str] = []


@saga
async def tidies_up(s: Saga, _: int) -> str:
    try:
        await s.call(Reserve(sku="a"))
        return (await s.receive(Paid)).reference
    except BaseException:
        ran.append("except")
        await s.call(Charge(amount=1))
        raise
    finally:
        ran.append("finally")
        await s.call(Print(order="1"))


@saga
async def neighbour(s: Saga, _: int) -> str:
    gc.collect()  # within this one's turn
    return await s.call(Print(order="2"))


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_what_is_evicted_sends_nothing_at_once_or_later_and_comes_back_as_it_was() -> None:
    inside = Inside(tidies_up, neighbour)
    inside.start(tidies_up, 0, "s")
    inside.come(inside.succeeded("s", 0, Reserve))
    successor = Inside(tidies_up, neighbour)
    successor.take_over(inside, "s")
    ran.clear()

    def throw_out(batch: Batch) -> None:
        inside.cache.drop("s")
        batch.of(SHARD)

    writes = inside._batch(throw_out)
    assert (writes.turns, writes.outbox) == ([], [])
    assert ran == ["except", "finally"]  # Python can't be kept from running them; they could do nothing
    writes = inside.start(neighbour, 0, "neighbour")
    assert kinds(writes.outbox) == ["command"]
    gc.collect()
    assert ran == ["except", "finally"]  # nothing was left to the collector

    ran.clear()
    writes = successor.come(successor.message("s", Paid(reference="r"), "m"))
    assert (ran, [row.type for row in writes.outbox]) == (["finally"], ["ShopPrint"])
    successor.come(successor.succeeded("s", 2, Print, "label"))
    assert successor.resident("s").status == "completed"
    inside.cache.drop("neighbour")
