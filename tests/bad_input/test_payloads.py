"""Messages that nobody can read, or that mean nothing: told apart from the good ones, kept, and passed over."""

import re
from pathlib import Path
from typing import Any
from uuid import uuid4

from orchestrator import Retry, Saga, saga
from orchestrator.messaging import avro, control, outgoing
from outbox_relay.rows import Row
from tests.bad_input.program import Go, Pay, Unheard, app, deployed_later, till, two_payments
from tests.bad_input.world import World, all_in, headers_of, produce
from tests.deadlines import deadline

SAGAS = app.sagas
UNKNOWN_SCHEMA = b"\xc3\x01" + b"\x00" * 8


def start_of(**other: Any) -> tuple[bytes, dict[str, bytes]]:
    """A start of the neighbour's type that anybody may have written."""
    start = {"uid": str(uuid4()), "type": "neighbour", "version": 1, "input": "5"} | other
    return control.Start(**start).encode(), {"type": b"neighbour"}


def test_whatever_lies_in_the_topic_of_sagas_is_kept_with_its_reason_and_passed_over(world: World) -> None:
    world.client.start(two_payments, "victim", id="victim")
    world.eventually(lambda: world.paid("victim") == 1, "it waits for its message")
    go = outgoing.message_row(topic="-", shard=0, saga_id="victim", wire_name="TillGo", body={"count": 1})
    start = outgoing.start_row(topic="-", shard=0, saga_id="forged", start=control.Start.decode(start_of()[0]))
    good, child = go.payload or b"", {"parent_id": "nobody", "parent_key": f"{uuid4()}:0:0"}
    bad: list[tuple[str, bytes | None, Any, dict[str, bytes | None]]] = [
        ("no header id", b"", go, {"id": None}),
        ("begin with c3 01", b"not Avro", go, {}),
        ("begin with c3 01", b"", go, {}),
        ("no payload", None, go, {}),
        ("is not known", UNKNOWN_SCHEMA + b"\x02", go, {}),
        ("Undecodable", good[:-1], go, {}),
        ("bytes too many", good + b"\x00", go, {}),
        ("more than 900000", good + b"\x00" * 950_000, go, {}),
        ("not one of", good, go, {"kind": b"what"}),
        ("not UTF-8", good, go, {"saga_id": b"\xff\xfe"}),
        ("saga_id is missing", good, go, {"saga_id": None}),
        ("NUL", good, go, {"saga_id": b"vic\x00tim"}),
        ("UUID", good, go, {"id": b"no uuid", "saga_id": b"not-there-yet"}),
        ("no JSON", start_of(input="no JSON")[0], start, {}),
        ("no JSON", start_of(input="NaN")[0], start, {}),
        ("no JSON", start_of(input="[" * 100_000)[0], start, {}),
        ("Out of range", start_of(input="1e400")[0], start, {}),
        ("NUL", start_of(input='"a\\u0000b"')[0], start, {}),
        ("surrogates", start_of(input='"\\ud800"')[0], start, {}),
        ("UUID", start_of(uid="no uuid")[0], start, {}),
        ("uid", start_of(uid=world.uid("victim"))[0], start, {}),
        ("version", start_of(version=2**40)[0], start, {}),
        ("version", start_of(version=-1)[0], start, {}),
        ("reply_to", start_of(**child, parent_reply_to="no address")[0], start, {}),
        ("reply_to", start_of(**child, parent_reply_to="elsewhere/0")[0], start, {}),
        ("reply_to", start_of(**child, parent_reply_to=f"{world.topics.sagas}/7")[0], start, {"saga_id": b"victim"}),
        ("reply_to", start_of(parent_key="k")[0], start, {}),
    ]
    sent = {
        produce(world, world.topics.sagas, payload, headers_of(row, **headers)): (said, payload)
        for said, payload, row, headers in bad
    }
    world.neighbours_go_on()
    letters = world.letters()
    assert {offset: said for offset, (said, _) in sent.items() if said not in letters.get(offset, ("",))[0]} == {}, (
        letters
    )
    assert [letters[offset][1] for offset in sent] == [payload or b"" for _, payload in sent.values()]
    world.client.send("victim", Go())
    assert world.client.result(two_payments, "victim", timeout=deadline(60)) == 11


@saga
async def deployed_too_late(s: Saga, number: int) -> int:
    return number * 2


@saga
async def calls_unheard(s: Saga, account: str) -> int:
    return (
        await s.call(Unheard(account=account), retry=Retry(max_attempts=200, first_delay_s=0.5, max_delay_s=0.5))
    ).amount


def test_a_saga_of_an_unknown_type_waits_for_its_code(empty_world: World) -> None:
    world = empty_world
    world.system.relay()
    world.system.participants([till])
    stop = world.system.orchestrator(SAGAS)
    world.client.start(deployed_too_late, 21, id="early")
    why = world.blocked("early")
    assert "which this orchestrator was not started with" in why
    assert "amends unblock early" in why
    world.neighbours_go_on()
    stop()
    world.system.orchestrator([*SAGAS, deployed_too_late])
    world.client.unblock("early")
    assert world.client.result(deployed_too_late, "early", timeout=deadline(60)) == 42


def test_a_command_that_nobody_handles_is_sent_again_until_somebody_does(empty_world: World) -> None:
    world = empty_world
    world.system.relay()
    stop = world.system.participants([till])
    world.system.orchestrator([*SAGAS, calls_unheard])
    world.client.start(calls_unheard, "c", id="c")
    world.eventually(lambda: any("has no handler for TillUnheard" in text for _, text in answers(world)), "a no")
    world.neighbours_go_on()
    assert world.status("c") == "running"
    stop()
    world.system.participants([deployed_later])
    assert world.client.result(calls_unheard, "c", timeout=deadline(60)) == 7
    assert world.paid("c") == 7


def answers(world: World) -> list[tuple[str, str]]:
    """Operation key and what was said, of every answer that is no yes."""
    found = all_in(world, world.topics.sagas)
    return [
        (one.operation_key, f"{one.outcome} {control.ProblemRecord.decode(one.payload).problem.text}")
        for one in found
        if one.kind == "reply" and one.outcome != "succeeded"
    ]


def test_a_command_that_nobody_can_read_is_answered_with_its_reason_and_passed_over(world: World) -> None:
    """Of each the sender hears why; without an address to answer to, it is kept aside."""
    command = command_of(world, "k:0:0")
    good, unfit = command.payload or b"", avro.encode(Pay, {"account": "x", "amount": -1})
    bad = [
        ("retry", "amount", unfit, {}),
        ("retry", "is not known", UNKNOWN_SCHEMA, {}),
        ("retry", "has no handler for NoSuchCommand", good, {"type": b"NoSuchCommand"}),
        ("failed", "begin with c3 01", b"not Avro", {}),
        ("failed", "TillPay", good[:-1], {}),
        ("failed", "more than 900000", good + b"\x00" * 950_000, {}),
        ("kept", "operation_key", good, {"operation_key": None}),
        ("kept", "no-such-topic", good, {"reply_to": b"no-such-topic/0"}),
        ("kept", "is not <topic>/<partition>", good, {"reply_to": b"nowhere"}),
        ("kept", "takes command, undo and settled", good, {"kind": b"message"}),
        ("kept", "outcome done or unknown", control.Undo(command=good, reply=None, attempts=1, sent_at_us=1).encode(),
         {"kind": b"undo", "outcome": b"maybe"}),
        ("kept", "fromisoformat|isoformat", good, {"expires_at": b"yesterday"}),
    ]  # fmt: skip
    wanted, kept = {}, []
    for number, (outcome, said, payload, headers) in enumerate(bad):
        key = f"{uuid4()}:0:{number}"
        headers = {"operation_key": key.encode()} | headers
        offset = produce(world, world.topics.commands("till"), payload, headers_of(command, **headers))
        if outcome == "kept":
            kept.append((offset, said, payload))
        else:
            wanted[key] = (outcome, said)
    world.neighbours_go_on()
    world.eventually(lambda: len(answers(world)) == len(wanted), "an answer to each")
    for key, text in answers(world):
        outcome, said = wanted[key]
        assert text.startswith(outcome)
        assert said in text
    dead = {row[0]: row[1:] for row in world.system.rows('SELECT "offset", error, payload FROM amends.inbox_dead')}
    for offset, said, payload in kept:
        assert re.search(said, dead[offset][0]), (said, dead[offset][0])
        assert bytes(dead[offset][1]) == payload
    assert len(dead) == len(kept)
    assert world.paid("x") == 0


def command_of(world: World, key: str) -> Row:
    to = {"reply_to": outgoing.reply_to(world.topics.sagas, 0), "nonce": world.nonce(key)}
    request = outgoing.Request(
        topic=world.topics.commands("till"),
        saga_id="nobody",
        operation_key=key,
        attempt=1,
        type="TillPay",
        expires_at="2100-01-01T00:00:00+00:00",
        **to,
    )
    return outgoing.command_row(request, {"account": "x", "amount": 1})


def test_a_message_that_does_not_fit_blocks_its_saga_and_waits_there_for_code_that_takes_it(world: World) -> None:
    """By its schema it is one, and its value is none that the class takes: perhaps its sender was deployed first."""
    world.client.start(two_payments, "p", id="p")
    world.eventually(lambda: world.paid("p") == 1, "it waits for its message")
    unfit = outgoing.message_row(topic="-", shard=0, saga_id="p", wire_name="TillGo", body={"count": -1})
    produce(world, world.topics.sagas, unfit.payload, headers_of(unfit))
    why = world.blocked("p")
    assert "this is no Go: count: Input should be greater than 0" in why
    world.neighbours_go_on()
    assert len(world.system.rows("SELECT 1 FROM amends.held_entries")) == 1
    assert world.turns("p") == 2
    world.client.terminate("p", note="nobody will deploy such code")
    assert world.system.ended(["p"]) == {"p": "terminated"}


def test_a_schema_file_that_is_damaged_does_not_stop_who_looks_for_another_schema(world: World, tmp_path: Path) -> None:
    (tmp_path / "broken.avsc").write_text("{")
    avro.use_schemas(tmp_path)
    try:
        go = outgoing.message_row(topic="-", shard=0, saga_id="x", wire_name="TillGo", body={"count": 1})
        offset = produce(world, world.topics.sagas, UNKNOWN_SCHEMA, headers_of(go))
        world.neighbours_go_on()
        assert "not a readable .avsc file" in world.letters()[offset][0]
    finally:
        avro._DIRECTORIES.pop(tmp_path)
