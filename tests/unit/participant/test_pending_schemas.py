"""A schema that the registry has not said yet is nobody's fault: nothing is refused, buried, counted or half done."""

from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.contracts import Command, Event
from orchestrator.messaging import avro
from orchestrator.messaging.control import Undo
from orchestrator.messaging.envelope import Envelope
from orchestrator.messaging.outgoing import Request
from orchestrator.participant import Participant, Transaction, inbox_events, outside
from orchestrator.participant.follow import Follower
from orchestrator.participant.inbox_events import WaitingEvent
from orchestrator.participant.outcomes import Rechecked, UndoPostponed
from orchestrator.participant.requests import CommandRequest, DeadRequest, UndoRequest, read
from orchestrator.participant.runner import _soon
from tests.integration.participant.desk import envelope_of

weighers = Participant("weighers")


class WeighPending(Command[int], service="weighers"):
    label: str


class WeighedPending(Event, topic="weights", key="label"):
    label: str


@weighers.handles(WeighPending)
async def weigh(cmd: WeighPending, tx: Transaction) -> int:
    return 1


@weigh.undo
async def unweigh(cmd: WeighPending, weight: int, tx: Transaction) -> None: ...


@weighers.on(WeighedPending)
async def weighed(event: WeighedPending, tx: Transaction) -> None: ...


class Ids:
    """7 is WeighPending's, once it is known; 8 is nobody's."""

    def __init__(self) -> None:
        self.known = False

    def ready(self, schema_id: int) -> bool:
        return self.known or schema_id == 8

    def codec(self, schema_id: int) -> avro.Codec:
        if schema_id == 8:
            raise avro.UnknownSchema("the registry has no schema 8")
        if not self.known:
            raise avro.SchemaPending(schema_id)
        return avro.codec_of(WeighPending)


@pytest.fixture
def ids() -> Iterator[Ids]:
    source = Ids()
    avro.read_ids(source)
    yield source
    avro.read_ids(None)


def by_id(schema_id: int) -> bytes:
    body = avro.unframed(avro.encode(WeighPending, {"label": "a"}))
    return b"\x00" + schema_id.to_bytes(4, "big") + body


def envelope(kind: str, payload: bytes, type: str = "WeighPending", **more: str) -> Envelope:
    request = Request(
        topic="weighers.commands", saga_id="s", operation_key="u:0:0", attempt=1, type=type, reply_to="sagas/0",
        nonce="n", expires_at="2099-01-01T00:00:00+00:00",
    )  # fmt: skip
    return envelope_of(request.row(kind, payload, **more))  # type: ignore[arg-type]


def reading(message: Envelope) -> Any:
    return read(message, weighers, frozenset({"weights"}))


def test_a_command_is_neither_refused_nor_dead_but_read_again(ids: Ids) -> None:
    with pytest.raises(avro.SchemaPending):
        reading(envelope("command", by_id(7)))
    ids.known = True
    found = reading(envelope("command", by_id(7)))
    assert isinstance(found, CommandRequest)
    assert found.command == WeighPending(label="a")
    assert found.refusal is None


def test_what_the_registry_does_not_have_is_answered_as_before(ids: Ids) -> None:
    found = reading(envelope("command", by_id(8)))
    assert isinstance(found, CommandRequest)
    assert found.refusal is not None
    assert (found.refusal.type, found.refusal.effect) == ("UnknownSchema", "none")
    assert isinstance(reading(envelope("settled", by_id(8))), DeadRequest)


@pytest.mark.parametrize("part", ["itself", "command", "reply"])
def test_an_undo_waits_for_all_three_schemas_before_it_begins(ids: Ids, part: str) -> None:
    old = avro.encode(WeighPending, {"label": "a"})
    undo = Undo(
        command=by_id(7) if part == "command" else old, reply=by_id(7) if part == "reply" else old,
        attempts=1, sent_at_us=1,
    )  # fmt: skip
    payload = by_id(7) if part == "itself" else undo.encode()
    with pytest.raises(avro.SchemaPending):
        reading(envelope("undo", payload, outcome="done"))
    ids.known = True
    found = reading(envelope("undo", payload, outcome="done"))
    assert isinstance(found, DeadRequest if part == "itself" else UndoRequest)


def test_an_event_waits_too(ids: Ids) -> None:
    message = envelope("event", by_id(7), "WeighedPending")
    with pytest.raises(avro.SchemaPending):
        read(message, weighers, frozenset({message.topic}))


async def test_who_waits_for_the_registry_waits_no_longer_than_it_takes(ids: Ids) -> None:
    await _soon(avro.SchemaPending(7))  # comes back by itself
    ids.known = True
    await _soon(avro.SchemaPending(7))


def test_an_event_in_the_inbox_loses_none_of_its_attempts(ids: Ids) -> None:
    follower = Follower.__new__(Follower)
    follower._service = type("S", (), {"participant": weighers})()
    waiting = WaitingEvent("e", "weights", "a", "WeighedPending", by_id(7), None, inbox_events.EVENT_ATTEMPTS_MAX, 1)
    ready = follower._ready(waiting)
    verdict = inbox_events.verdict_on(waiting, ready.error, retry_after_s=ready.retry_after_s)
    assert (verdict.state, verdict.attempts) == ("waiting", inbox_events.EVENT_ATTEMPTS_MAX - 1)


async def test_an_external_undo_is_postponed_until_its_reply_can_be_read(ids: Ids) -> None:
    call = type("C", (), {"reply": by_id(7), "handler": type("H", (), {"command": WeighPending})()})()
    assert isinstance(await outside._known(None, call), UndoPostponed)  # type: ignore[arg-type]


async def test_a_reply_that_differs_by_its_framing_only_is_the_same_effect(
    ids: Ids, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each undo in doubt would be done twice while a fleet is moved over."""
    old = avro.encode(WeighPending, {"label": "a"})

    async def found(_service: object, _call: object) -> outside._Found:
        return outside._Found(by_id(7), 1)

    monkeypatch.setattr(outside, "_lookup", found)
    for reply, is_another in ((old, False), (avro.encode(WeighPending, {"label": "b"}), True), (None, True)):
        call = type("C", (), {"reply": reply, "handler": type("H", (), {"lookup": found})()})()
        outcome = await outside._recheck(None, call)  # type: ignore[arg-type]
        assert isinstance(outcome, Rechecked)
        assert outcome.found is is_another
