"""Rule 16. Saga code never holds the object that somebody else made: every input, result, message and error has been
written down and read again, now as on every replay. So no branch can depend on what writing it down would change.
"""

from typing import Any

import pytest
from pydantic import BaseModel

from orchestrator import Failure, OperationFailed, Retry, Saga, saga
from orchestrator.testing import Simulation
from tests.unit.core.shop import Charge, Charged, Declined, Driver


class Order(BaseModel):
    items: list[str]


class SecretOrder(Order):
    discount: int = 5


class OutOfTune(KeyError):
    pass


class Sour(Failure, wire_name="RulesSour"):
    ph: float


def tuples() -> Any:
    return {"zeta": (1, 2), "b": -0.0, "a": SecretOrder(items=["x"])}


def spoils(order: Order, tags: list[str]) -> int:
    order.items.clear()
    tags.append("spoilt")
    return len(tags)


def raises(what: str) -> None:
    raise Sour(ph=2.5) if what == "failure" else OutOfTune(what)


def test_a_result_is_what_a_reader_of_the_journal_would_get(sim: Simulation) -> None:
    @saga
    async def looks(s: Saga, _: int) -> str:
        return repr(await s.step(tuples))

    assert sim.start(looks, 0).result == "{'zeta': [1, 2], 'b': -0.0, 'a': {'items': ['x'], 'discount': 5}}"


def test_an_input_is_of_the_declared_type_and_nobody_elses_object(sim: Simulation) -> None:
    @saga
    async def looks(s: Saga, order: Order) -> str:
        order.items.append("mine")
        return type(order).__name__

    given = SecretOrder(items=[])
    assert sim.start(looks, given).result == "Order"
    assert given.items == []


def test_a_reply_is_decoded_live_as_on_replay() -> None:
    @saga
    async def looks(s: Saga, _: int) -> str:
        charged = await s.call(Charge(amount=1))
        return f"{type(charged).__name__} {charged.charge}"

    driver = Driver(looks, 0)
    driver.feed(driver.reply(0, Charged(charge="c").model_dump()))
    assert driver.end.result == "Charged c"


def test_a_step_gets_copies_that_it_may_spoil(sim: Simulation) -> None:
    @saga
    async def keeps_its_own(s: Saga, _: int) -> str:
        order, tags = Order(items=["x"]), ["a"]
        counts = [await s.step(spoils, order, tags) for _ in range(2)]
        return f"{order.items} {tags} {counts}"

    assert sim.start(keeps_its_own, 0).result == "['x'] ['a'] [2, 2]"


@pytest.mark.parametrize(("what", "met"), [("failure", "Sour 2.5"), ("error", "OperationFailed OutOfTune")])
def test_an_error_is_met_as_it_can_be_written_down(sim: Simulation, what: str, met: str) -> None:
    @saga
    async def meets(s: Saga, what: str) -> str:
        try:
            await s.step(raises, what, retry=Retry.never)
        except LookupError:
            return "the very exception"
        except Sour as failure:
            return f"{type(failure).__name__} {failure.ph}"
        except OperationFailed as error:
            return f"{type(error).__name__} {error.error_type}"
        return "nothing"

    assert sim.start(meets, what).result == met


def test_a_failure_of_a_participant_is_met_by_its_name_and_fields(sim: Simulation) -> None:
    @saga
    async def meets(s: Saga, _: int) -> str:
        try:
            await s.call(Charge(amount=1))
        except Declined as no:
            return no.reason
        return "paid"

    sim.fake(Charge).fail(Declined(reason="limit"))
    assert sim.start(meets, 0).result == "limit"
