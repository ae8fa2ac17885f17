"""A handler that returns something else than it promised."""

import pytest

from orchestrator import OperationFailed, Retry, Saga, SagaFailed, saga
from tests.bad_input import program
from tests.bad_input.program import CallOut, CountWrongly, Pay
from tests.bad_input.world import World
from tests.deadlines import deadline

QUICK = Retry(max_attempts=2, first_delay_s=0.05, max_delay_s=0.1)


@saga
async def counts_wrongly(s: Saga, account: str) -> int:
    await s.call(Pay(account=account, amount=4))
    return (await s.call(CountWrongly(account=account), retry=QUICK)).amount


@saga
async def calls_out(s: Saga, account: str) -> str:
    await s.call(Pay(account=account, amount=4))
    try:
        await s.call(CallOut(account=account), retry=QUICK)
    except OperationFailed as error:
        return f"{error.effect}: {error}"
    return "a slip"


@pytest.fixture
def at_work(empty_world: World) -> World:
    empty_world.system.relay()
    empty_world.system.participants([program.till])
    empty_world.system.orchestrator([*program.app.sagas, counts_wrongly, calls_out])
    return empty_world


def test_what_a_local_handler_returned_wrongly_was_never_done(at_work: World) -> None:
    at_work.client.start(counts_wrongly, "w", id="w")
    at_work.neighbours_go_on()
    with pytest.raises(SagaFailed, match="ValidationError"):
        at_work.client.result(counts_wrongly, "w", timeout=deadline(60))
    assert at_work.paid("w") == 0, "its rows were rolled back, and the call before it was taken back"
    assert at_work.system.rows("SELECT amount FROM paid WHERE account = 'w' ORDER BY amount") == [(-4,), (4,)]
    at_work.neighbours_go_on()


def test_what_an_external_handler_returned_wrongly_may_have_happened_and_is_undone(at_work: World) -> None:
    said = at_work.client.run(calls_out, "x", id="x", timeout=deadline(60))
    assert said.startswith("unknown: ValidationError")
    at_work.neighbours_go_on()
    undone = "SELECT state FROM amends.inbox WHERE type = 'TillCallOut'"
    assert at_work.system.rows(undone) == [("undone",)]
