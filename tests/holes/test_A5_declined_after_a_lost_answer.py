"""A5, MONEY: the first charge's answer was lost, the second was declined; "a clear no is not undone", and RM 45 were
gone.

Here with everything between the saga and the gateway.
"""

from orchestrator import Retry, Saga, SyncClient, saga
from tests.holes.shops import decided, make_shop
from tests.integration.engine.kit import System
from tests.integration.participant.shop import ChargeCard, make_payments


@saga
async def pays(s: Saga, order_id: str) -> str:
    retry = Retry(max_attempts=3, first_delay_s=0.05)
    return (await s.call(ChargeCard(order_id=order_id), retry=retry)).charge_id


def run(system: System, order_id: str) -> dict[str, str]:
    make_shop(system)
    system.relay()
    system.participants([make_payments(lookup=False)])
    system.orchestrator([pays])
    with SyncClient(system.settings) as client:
        client.start(pays, order_id, id=order_id)
        return system.ended([order_id])


def test_the_money_of_the_first_charge_comes_back(system: System, make_gateway) -> None:
    gateway = make_gateway(honours_keys=False)
    gateway.script.extend(("lost", "declined"))
    assert run(system, "o1") == {"o1": "failed"}
    assert [len(charge.refunds) for charge in gateway.book] == [1]
    assert "CardDeclined" in system.rows("SELECT problem FROM amends.sagas")[0][0]


def test_a_no_without_a_lost_answer_before_it_is_not_undone(system: System, make_gateway) -> None:
    gateway = make_gateway(honours_keys=False)
    gateway.script.extend(("slow_down", "declined"))
    assert run(system, "o1") == {"o1": "failed"}
    assert (gateway.book, gateway.count("refund"), decided(system, "undo")) == ([], 0, 0)
