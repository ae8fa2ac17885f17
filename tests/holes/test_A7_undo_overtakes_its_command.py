"""A7, MONEY: the undo was answered "nothing to undo" while its command was inside the gateway's call, and then it paid.

Here the saga is cancelled while its charge is out; tests/integration/participant/test_processes.py stops and kills the
processes. Local steps, too, are taken back only when their run has ended.
"""

import threading

import pytest

from orchestrator import Saga, SyncClient, saga
from tests.deadlines import deadline, eventually
from tests.holes.shops import decided, make_shop
from tests.integration.engine.kit import System
from tests.integration.participant.shop import ChargeCard, make_payments

order: list[str] = []
inside, go_on = threading.Event(), threading.Event()


@saga
async def pays(s: Saga, order_id: str) -> str:
    return (await s.call(ChargeCard(order_id=order_id))).charge_id


def effect() -> None:
    inside.set()
    assert go_on.wait(deadline(20))
    order.append("done")


def taken_back() -> None:
    order.append("undone")


@saga
async def works(s: Saga, _: int) -> None:
    await s.step(effect, undo=taken_back)


@pytest.mark.parametrize("where", ["hold_before", "hold_after"])
def test_the_undo_waits_for_the_call_that_is_out(system: System, gateway, where: str) -> None:
    gateway.script.append(where)
    make_shop(system)
    system.relay()
    system.participants([make_payments(timeout_s=30)])
    system.orchestrator([pays])
    with SyncClient(system.settings) as client:
        client.start(pays, "o1", id="o1")
        assert gateway.held.wait(deadline(30))
        client.cancel("o1")
        eventually(lambda: decided(system, "undo"), 30, "the undo is on its way")
        waiting = "SELECT 1 FROM amends.inbox WHERE state = 'running' AND undo_attempt > 0"
        eventually(lambda: system.rows(waiting), 30, "it has met the call")
        assert (gateway.count("refund"), system.rows("SELECT 1 FROM amends.sagas WHERE ended_at IS NOT NULL")) == (
            0,
            [],
        )
        gateway.release.set()
        assert system.ended(["o1"]) == {"o1": "cancelled"}
    assert [len(charge.refunds) for charge in gateway.book] == [1]


def test_the_undo_of_a_local_step_waits_for_its_thread(system: System) -> None:
    system.relay()
    system.orchestrator([works])
    with SyncClient(system.settings) as client:
        client.start(works, 0, id="w")
        assert inside.wait(deadline(30))
        client.cancel("w")
        heard = "SELECT 1 FROM amends.verbs WHERE done_at IS NOT NULL"
        eventually(lambda: system.rows(heard), 30, "the cancel is heard")
        assert order == []
        go_on.set()
        assert system.ended(["w"]) == {"w": "cancelled"}
    assert order == ["done", "undone"]
