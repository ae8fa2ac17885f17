"""The spans of a saga: its root, one for each operation, one for each undo, linked to what it undoes.

A span is made when the turn that ends it is told (`ended_spans`), from the story up to that turn, and never again: told
twice it is the same to the last byte. Names and attributes follow OpenTelemetry's conventions for messaging; what is
ours begins with `amends.`. Bodies of messages never get in here, texts of errors do, cut.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import NAMESPACE_URL, uuid5

from orchestrator.story import Attempt, Body, Ended, Mark, Operation, Story, advance
from orchestrator.tracing import ids

TEXT_CHARS_MAX = 300  # of an error's text
EVENTS_MAX = 100  # of one span: a saga that retries for weeks keeps its first ones and its last

Kind = Literal["internal", "producer", "consumer"]
Value = str | int | bool
Attributes = Mapping[str, Value]

_MARKS_OF_THE_ROOT = ("status", "pivot", "verb", "undo requested", "late answer")


@dataclass(frozen=True, slots=True)
class SagaFacts:
    """What never changes of a saga. `topics_prefix` is the installation's."""

    id: str
    uid: str
    type: str
    version: int
    traceparent: str | None
    topics_prefix: str = ""

    def key(self, seq: int) -> str:
        """The operation key."""
        return f"{self.uid}:0:{seq}"


@dataclass(frozen=True, slots=True)
class Takeover:
    """The saga's shard got another owner while the saga was open."""

    at_us: int
    epoch: int
    worker: str


@dataclass(frozen=True, slots=True)
class Event:
    name: str
    at_us: int
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Span:
    """One span. `links` are spans of the same trace; `error` is None where nothing went wrong."""

    trace_id: str
    span_id: str
    parent_id: str | None
    parent_is_remote: bool
    name: str
    kind: Kind
    begun_us: int
    ended_us: int
    attributes: Attributes
    events: tuple[Event, ...] = ()
    links: tuple[str, ...] = ()
    error: str | None = None


def spans_of(facts: SagaFacts, bodies: Iterable[Body], takeovers: Sequence[Takeover] = ()) -> Iterator[Span]:
    """All spans of a journal that have ended, in the order in which they did."""
    story = Story()
    for body in bodies:
        yield from ended_spans(facts, story, advance(story, body), takeovers)


def ended_spans(facts: SagaFacts, story: Story, ended: Ended, takeovers: Sequence[Takeover] = ()) -> Iterator[Span]:
    """The spans of what ended with the turn that was told last. `takeovers` go to the root."""
    for operation in ended.operations:
        if operation.kind not in ("timeout", "set"):
            yield _operation(facts, operation)
    for operation in ended.undos:
        yield _undo(facts, operation)
    if ended.root:
        yield _root(facts, story, takeovers)
    if ended.taken_back:
        yield _taken_back(facts, story)


# --- the three shapes


def _operation(facts: SagaFacts, operation: Operation) -> Span:
    assert operation.ended_us is not None
    failed = operation.state in ("failed", "unknown")
    attributes: dict[str, Value] = {**_common(facts), **_of_operation(facts, operation)}
    attributes["amends.outcome"] = operation.state
    if failed:
        attributes["error.type"] = operation.error_type or "_OTHER"
    return Span(
        *_place(facts, str(operation.seq)),
        name=operation.title if operation.kind != "child" else f"child {operation.name}",
        kind=_kind(operation),
        begun_us=operation.begun_us,
        ended_us=max(operation.ended_us, operation.begun_us),
        attributes=attributes,
        events=_attempts(operation.attempts),
        error=_cut(operation.error_text or operation.error_type or operation.state) if failed else None,
    )


def _undo(facts: SagaFacts, operation: Operation) -> Span:
    undo = operation.undo
    assert undo is not None
    assert undo.ended_us is not None
    events = list(_attempts(undo.attempts))
    if undo.late_us is not None:
        events.append(Event("late success", undo.late_us, {}))
    attributes: dict[str, Value] = {**_common(facts), **_of_operation(facts, operation), "amends.outcome": undo.state}
    if undo.known:
        attributes["amends.undo.known"] = undo.known
    if undo.note:
        attributes["amends.undo.note"] = _cut(undo.note)
    is_undone = undo.state == "undone"
    last_text = undo.attempts[-1].text if undo.attempts else ""
    return Span(
        *_place(facts, ids.undo_part(operation.seq)),
        name=f"undo {operation.name}",
        kind="producer" if operation.kind in ("call", "child") else "internal",
        begun_us=undo.begun_us,
        ended_us=max(undo.ended_us, undo.begun_us),
        attributes=attributes if is_undone else attributes | {"error.type": "UndoLeft"},
        events=tuple(sorted(events, key=lambda event: event.at_us)),
        links=(ids.span_id(facts.uid, str(operation.seq)),),
        error=None if is_undone else _cut(last_text or "it was not undone"),
    )


def _root(facts: SagaFacts, story: Story, takeovers: Sequence[Takeover]) -> Span:
    assert story.ended_us is not None
    begun_us = story.started_us if story.started_us is not None else story.ended_us
    failed = story.end in ("failed", "terminated")
    attributes: dict[str, Value] = {**_common(facts), "amends.outcome": story.end, "amends.turns": story.turns}
    if story.error_type:
        attributes["error.type"] = story.error_type
    if story.left_undone:
        attributes["amends.left_undone"] = _cut(", ".join(story.left_undone))
    given = ids.caller(facts.traceparent)
    return Span(
        trace_id=ids.trace_id(facts.uid, facts.traceparent),
        span_id=ids.span_id(facts.uid, ids.ROOT),
        parent_id=None if given is None else given.span_id,
        parent_is_remote=given is not None,
        name=f"saga {facts.type}",
        kind="internal",
        begun_us=begun_us,
        ended_us=max(story.ended_us, begun_us),
        attributes=attributes,
        events=_root_events(story.marks, takeovers, begun_us, story.ended_us),
        error=_cut(story.error_text or story.error_type or story.end) if failed else None,
    )


def _taken_back(facts: SagaFacts, story: Story) -> Span:
    back = story.taken_back
    assert back is not None
    assert back.ended_us is not None
    undone = back.outcome == "undone"
    return Span(
        *_place(facts, ids.TAKEN_BACK),
        name=f"take back {facts.type}",
        kind="internal",
        begun_us=back.begun_us,
        ended_us=max(back.ended_us, back.begun_us),
        attributes={**_common(facts), "amends.outcome": back.outcome},
        links=(ids.span_id(facts.uid, ids.ROOT),),
        error=None if undone else "it could not be taken back",
    )


# --- their parts


def _place(facts: SagaFacts, part: str) -> tuple[str, str, str, bool]:
    """Trace, span and parent of a part: all parts hang below the root."""
    trace_id = ids.trace_id(facts.uid, facts.traceparent)
    return trace_id, ids.span_id(facts.uid, part), ids.span_id(facts.uid, ids.ROOT), False


def _common(facts: SagaFacts) -> dict[str, Value]:
    return {"amends.saga_id": facts.id, "amends.saga_type": facts.type, "amends.saga_version": facts.version}


def _kind(operation: Operation) -> Kind:
    match operation.kind:
        case "call" | "child" | "publish" | "send" | "start":
            return "producer"
        case "receive":
            return "consumer"
        case _:
            return "internal"


def _of_operation(facts: SagaFacts, operation: Operation) -> dict[str, Value]:
    key = facts.key(operation.seq)
    attributes: dict[str, Value] = {"amends.operation_key": key, "amends.operation_kind": operation.kind}
    if operation.attempts:
        attributes["amends.attempts"] = operation.attempts[-1].number
    sagas = f"{facts.topics_prefix}sagas"
    match operation.kind:
        case "call":
            topic = f"{facts.topics_prefix}{operation.service}.commands"
            return attributes | _messaging("send", topic, facts.id) | {"messaging.message.conversation_id": key}
        case "child" | "start":
            return attributes | _messaging("send", sagas, operation.id) | {"amends.started_id": operation.id}
        case "send":
            return attributes | _messaging("send", sagas, operation.id) | _message_id(key)
        case "publish":
            return attributes | _messaging("send", f"{facts.topics_prefix}{operation.topic}", "") | _message_id(key)
        case "receive":
            return attributes | _messaging("receive", sagas, facts.id)
    return attributes


def _messaging(operation: str, topic: str, key: str) -> dict[str, Value]:
    attributes: dict[str, Value] = {
        "messaging.system": "kafka",
        "messaging.operation.type": operation,
        "messaging.operation.name": operation,
        "messaging.destination.name": topic,
    }
    return attributes | {"messaging.kafka.message.key": key} if key else attributes


def _message_id(key: str) -> dict[str, Value]:
    return {"messaging.message.id": str(uuid5(NAMESPACE_URL, f"amends:{key}"))}


def _attempts(attempts: Sequence[Attempt]) -> tuple[Event, ...]:
    events: list[Event] = []
    for attempt in attempts:
        events.append(Event("attempt", attempt.begun_us, {"amends.attempt": attempt.number}))
        if attempt.ended_us is not None:
            facts: dict[str, Value] = {"amends.attempt": attempt.number, "amends.outcome": attempt.outcome}
            if attempt.text:
                facts["amends.error"] = _cut(attempt.text)
            events.append(Event("attempt ended", attempt.ended_us, facts))
    return _some(sorted(events, key=lambda event: event.at_us))


def _root_events(
    marks: Sequence[Mark], takeovers: Sequence[Takeover], begun_us: int, ended_us: int
) -> tuple[Event, ...]:
    events = [
        Event(mark.kind, mark.at_us, {"amends.text": _cut(mark.text)})
        for mark in marks
        if mark.kind in _MARKS_OF_THE_ROOT and mark.at_us <= ended_us
    ]
    for takeover in takeovers:
        # Its time is the database's, a turn's is the worker's estimate of it: a few milliseconds may lie between them.
        at_us = min(takeover.at_us, ended_us)
        if at_us >= begun_us:
            events.append(
                Event("taken over", at_us, {"amends.epoch": takeover.epoch, "amends.worker": takeover.worker})
            )
    return _some(sorted(events, key=lambda event: event.at_us))


def _some(events: Sequence[Event]) -> tuple[Event, ...]:
    if len(events) <= EVENTS_MAX:
        return tuple(events)
    half = EVENTS_MAX // 2
    return (*events[:half], *events[-half:])


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_CHARS_MAX else text[: TEXT_CHARS_MAX - 1] + "…"
