"""An id that is used twice: the same again is the same, another one is refused where it is found out."""

from uuid import uuid4

import pytest

from orchestrator import Saga, SagaIdTaken, saga
from orchestrator.messaging import control, outgoing
from tests.bad_input import program
from tests.bad_input.program import Go, Pay, neighbour, two_payments
from tests.bad_input.world import World, all_in, headers_of, produce
from tests.deadlines import deadline


@saga
async def with_a_child(s: Saga, child_id: str) -> str:
    try:
        await s.run(two_payments, "child", id=child_id)
    except Exception as error:
        return str(error)
    return "ran"


def test_a_start_that_comes_again_is_one_saga_and_another_input_is_refused(world: World) -> None:
    client = world.client
    assert client.start(two_payments, "a", id="order-7").created
    assert not client.start(two_payments, "a", id="order-7").created
    with pytest.raises(SagaIdTaken, match=r"order-7 already, with another input.*amends show order-7"):
        client.start(two_payments, "b", id="order-7")
    with pytest.raises(SagaIdTaken, match="of type two_payments, not neighbour"):
        client.start(neighbour, 1, id="order-7")
    world.eventually(lambda: world.paid("a") == 1, "it waits")
    # From a service's database, which can't know: it is found out when it arrives.
    again = control.Start(uid=str(uuid4()), type="two_payments", version=1, input='"a"')
    other = control.Start(uid=str(uuid4()), type="two_payments", version=1, input='"b"')
    rows = [outgoing.start_row(topic="-", shard=0, saga_id="order-7", start=start) for start in (again, other)]
    _, refused = (produce(world, world.topics.sagas, row.payload, headers_of(row)) for row in rows)
    world.neighbours_go_on()
    assert {offset: error for offset, (error, _) in world.letters().items()} == {
        refused: "the id 'order-7' belongs to another saga (other type, input or parent): this start was refused"
    }
    client.send("order-7", Go())
    assert client.result(two_payments, "order-7", timeout=deadline(60)) == 11
    assert world.paid("a") == 11


def test_a_message_id_counts_once_whatever_the_second_one_says(world: World) -> None:
    world.client.start(two_payments, "p", id="p")
    world.eventually(lambda: world.paid("p") == 1, "it waits")
    world.client.send("p", Go(count=2), message_id="go")
    world.client.send("p", Go(count=5), message_id="go")
    assert world.client.result(two_payments, "p", timeout=deadline(60)) == 21
    world.client.start(two_payments, "q", id="q")
    world.eventually(lambda: world.paid("q") == 1, "it waits")
    world.client.send("q", Go(count=2), message_id="go")  # another saga's message of that id is another message
    assert world.client.result(two_payments, "q", timeout=deadline(60)) == 21
    world.neighbours_go_on()


def test_a_child_whose_id_is_taken_is_a_definite_no_to_its_parent(empty_world: World) -> None:
    world = empty_world
    world.system.relay()
    world.system.participants([program.till])
    world.system.orchestrator([*program.app.sagas, with_a_child])
    world.client.start(two_payments, "taken", id="taken")
    said = world.client.run(with_a_child, "taken", id="parent", timeout=deadline(60))
    assert "the id 'taken' belongs to another saga" in said
    world.neighbours_go_on()
    assert world.paid("child") == 0


def test_a_key_with_another_body_is_a_conflict_and_quarantines_its_saga(world: World) -> None:
    """As after a restored backup: the participant knows this key from another life, with another command."""
    world.client.start(two_payments, "c", id="c")
    world.eventually(lambda: world.paid("c") == 1, "it waits")
    key = f"{world.uid('c')}:0:2"  # of the call that comes next
    request = outgoing.Request(
        topic="-", saga_id="c", operation_key=key, attempt=1, type="TillPay", nonce=world.nonce(key),
        reply_to=outgoing.reply_to(world.topics.sagas, 0), expires_at="2100-01-01T00:00:00+00:00",
    )  # fmt: skip
    row = outgoing.command_row(request, {"account": "c", "amount": 500})
    produce(world, world.topics.commands("till"), row.payload, headers_of(row))
    world.eventually(lambda: world.paid("c") == 501, "it was done in that life")
    world.client.send("c", Go())
    why = world.blocked("c")
    assert "this key belongs to another TillPay" in why
    world.neighbours_go_on()
    assert world.paid("c") == 501, "nothing was done under a key that means something else"
    assert [one.outcome for one in all_in(world, world.topics.sagas) if one.operation_key == key] == [
        "succeeded",
        "conflict",
    ]
    assert Pay.__wire_name__ == "TillPay"
