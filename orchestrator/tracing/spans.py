"""The spans of a saga: its root, one for each operation, one for each undo, linked to what it undoes.

A span is made when the turn that ends it is told (`ended_spans`), from the story up to that turn, and never again: told
twice it is the same to the last byte. Names and attributes follow OpenTelemetry's conventions for messaging; what is
ours begins with `amends.`. Bodies of messages never get in here, texts of errors do, cut.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple
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
    """What never changes of a saga. `topics_prefix` is the installation's. What each of its spans says is made once."""

    id: str
    uid: str
    type: str
    version: int
    traceparent: str | None
    topics_prefix: str = ""
    trace_id: str = field(init=False, repr=False, compare=False)
    root_id: str = field(init=False, repr=False, compare=False)
    common: Attributes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "trace_id", ids.trace_id(self.uid, self.traceparent))
        object.__setattr__(self, "root_id", ids.span_id(self.uid, ids.ROOT))
        common = {"amends.saga_id": self.id, "amends.saga_type": self.type, "amends.saga_version": self.version}
        object.__setattr__(self, "common", common)

    def key(self, seq: int) -> str:
        """The operation key."""
        return f"{self.uid}:0:{seq}"


@dataclass(frozen=True, slots=True)
class Takeover:
    """The saga's shard got another owner while the saga was open."""

    at_us: int
    epoch: int
    worker: str


class Event(NamedTuple):
    """A tuple, as a span is: a frozen dataclass takes six times as long to make, and there are many of them."""

    name: str
    at_us: int
    attributes: Attributes


class Span(NamedTuple):
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
    attributes = _of_operation(facts, operation)
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
    attributes = _of_operation(facts, operation)
    attributes["amends.outcome"] = undo.state
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
        events=tuple(sorted(events, key=_at_us)),
        links=(ids.span_id(facts.uid, str(operation.seq)),),
        error=None if is_undone else _cut(last_text or "it was not undone"),
    )


def _root(facts: SagaFacts, story: Story, takeovers: Sequence[Takeover]) -> Span:
    assert story.ended_us is not None
    begun_us = story.started_us if story.started_us is not None else story.ended_us
    failed = story.end in ("failed", "terminated")
    attributes: dict[str, Value] = {**facts.common, "amends.outcome": story.end, "amends.turns": story.turns}
    if story.error_type:
        attributes["error.type"] = story.error_type
    if story.left_undone:
        attributes["amends.left_undone"] = _cut(", ".join(story.left_undone))
    given = ids.caller(facts.traceparent)
    return Span(
        trace_id=facts.trace_id,
        span_id=facts.root_id,
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
        attributes={**facts.common, "amends.outcome": back.outcome},
        links=(facts.root_id,),
        error=None if undone else "it could not be taken back",
    )


# --- their parts


def _place(facts: SagaFacts, part: str) -> tuple[str, str, str, bool]:
    """Trace, span and parent of a part: all parts hang below the root."""
    return facts.trace_id, ids.span_id(facts.uid, part), facts.root_id, False


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
    attributes: dict[str, Value] = {
        **facts.common,
        "amends.operation_key": key,
        "amends.operation_kind": operation.kind,
    }
    if operation.attempts:
        attributes["amends.attempts"] = operation.attempts[-1].number
    match operation.kind:
        case "call":
            _messaging(attributes, "send", f"{facts.topics_prefix}{operation.service}.commands", facts.id)
            attributes["messaging.message.conversation_id"] = key
        case "child" | "start":
            _messaging(attributes, "send", f"{facts.topics_prefix}sagas", operation.id)
            attributes["amends.started_id"] = operation.id
        case "send":
            _messaging(attributes, "send", f"{facts.topics_prefix}sagas", operation.id)
            attributes["messaging.message.id"] = _message_id(key)
        case "publish":
            _messaging(attributes, "send", f"{facts.topics_prefix}{operation.topic}", "")
            attributes["messaging.message.id"] = _message_id(key)
        case "receive":
            _messaging(attributes, "receive", f"{facts.topics_prefix}sagas", facts.id)
    return attributes


def _messaging(attributes: dict[str, Value], operation: str, topic: str, key: str) -> None:
    attributes["messaging.system"] = "kafka"
    attributes["messaging.operation.type"] = operation
    attributes["messaging.operation.name"] = operation
    attributes["messaging.destination.name"] = topic
    if key:
        attributes["messaging.kafka.message.key"] = key


def _message_id(key: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"amends:{key}"))


def _attempts(attempts: Sequence[Attempt]) -> tuple[Event, ...]:
    events: list[Event] = []
    for attempt in attempts:
        events.append(Event("attempt", attempt.begun_us, {"amends.attempt": attempt.number}))
        if attempt.ended_us is not None:
            facts: dict[str, Value] = {"amends.attempt": attempt.number, "amends.outcome": attempt.outcome}
            if attempt.text:
                facts["amends.error"] = _cut(attempt.text)
            events.append(Event("attempt ended", attempt.ended_us, facts))
    if len(attempts) > 1:  # one attempt ends after it began
        events.sort(key=_at_us)
    return _some(events)


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
    return _some(sorted(events, key=_at_us))


def _at_us(event: Event) -> int:
    return event.at_us


def _some(events: Sequence[Event]) -> tuple[Event, ...]:
    if len(events) <= EVENTS_MAX:
        return tuple(events)
    half = EVENTS_MAX // 2
    return (*events[:half], *events[-half:])


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_CHARS_MAX else text[: TEXT_CHARS_MAX - 1] + "…"
