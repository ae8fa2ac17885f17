"""Answers that nobody asked for: late, double, forged, to no operation, to another saga's. Counted, and no more."""

from orchestrator.messaging import outgoing
from tests.bad_input.program import Go, Pay, two_payments
from tests.bad_input.world import World, headers_of, produce
from tests.deadlines import deadline

FORGED = "forged: the answer's nonce is not ours"


def answer(world: World, saga_id: str, key: str, nonce: str | None, *, attempt: int = 1, amount: int = 1_000) -> None:
    to = outgoing.ReturnAddress(
        reply_to=outgoing.reply_to(world.topics.sagas, 0),
        saga_id=saga_id,
        operation_key=key,
        attempt=attempt,
        nonce=nonce or "-",
    )
    row = outgoing.succeeded_row(to, command=Pay, body={"amount": amount})
    left_out = {} if nonce else {"nonce": None}
    produce(world, world.topics.sagas, row.payload, headers_of(row, **left_out))


def test_every_answer_that_answers_nothing_is_counted_and_changes_nothing(world: World) -> None:
    for saga_id in ("one", "two"):
        world.client.start(two_payments, saga_id, id=saga_id)
        world.eventually(lambda saga_id=saga_id: world.turns(saga_id) == 2, "it waits for its message")
    one, two = world.uid("one"), world.uid("two")
    answered, never, of_two = f"{one}:0:0", f"{one}:0:99", f"{two}:0:2"
    answer(world, "one", answered, world.nonce(answered))  # double, and with another value
    answer(world, "one", answered, world.nonce(answered), attempt=7)  # to an attempt that was never made
    answer(world, "one", never, world.nonce(never))  # to no operation
    answer(world, "one", f"{one}:0:1", world.nonce(f"{one}:0:1"))  # to an operation that is no call
    answer(world, "one", of_two, world.nonce(of_two))  # for another saga's operation
    answer(world, "nobody", of_two, world.nonce(of_two))  # for a saga that never was
    answer(world, "one", answered, "0" * 32)  # guessed
    answer(world, "one", answered, None)  # without any
    answer(world, "one", answered, world.nonce(never))  # another operation's, which is genuine
    world.neighbours_go_on()
    counted = world.ignored()
    assert counted[FORGED] == 3
    assert counted["answer for a saga that is not here"] == 2
    assert sum(count for reason, count in counted.items() if reason.startswith("a late `succeeded`")) == 4, counted
    assert {saga_id: world.turns(saga_id) for saga_id in ("one", "two")} == {"one": 2, "two": 2}
    for saga_id in ("one", "two"):
        world.client.send(saga_id, Go())
        assert world.client.result(two_payments, saga_id, timeout=deadline(60)) == 11
        assert world.paid(saga_id) == 11
    late = f"{one}:0:2"
    answer(world, "one", late, world.nonce(late))  # its saga is over
    world.neighbours_go_on()
    assert world.status("one") == "completed"
    assert world.letters() == {}
