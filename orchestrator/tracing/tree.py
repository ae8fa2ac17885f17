"""A saga as a tree of what happened when, from the rows of the database and nothing else. Pure.

It is made of the same story as the exported spans and names their ids, so that a line is found again in a tracing tool;
what is still open has a line here and no span yet. Times are the journal's: an operation begins with the turn that
decided it and ends with the turn that took its answer, so waiting for a relay or a taken-over orchestrator is part of
it, and is to be seen.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from orchestrator.story import Attempt, Operation, Story, TakenBack, read_story
from orchestrator.story.model import WRITTEN
from orchestrator.tracing import ids

OPEN_STATES = ("open", "queued", "running", "compensating", "stuck", "blocked")


@dataclass(slots=True)
class Node:
    """One line. `ended_us` None: it has no length. `span_id` is empty where there is no span of it."""

    title: str
    state: str
    begun_us: int
    ended_us: int | None = None
    seq: int | None = None
    note: str = ""
    span_id: str = ""
    trace_id: str = ""  # of the root only
    children: list["Node"] = field(default_factory=list)


class Saga(Protocol):
    """What is needed of `client.answers.SagaRow`."""

    @property
    def id(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def status(self) -> str: ...
    @property
    def error(self) -> str | None: ...


class Turn(Protocol):
    """What is needed of `client.answers.JournalRow`."""

    @property
    def body(self) -> list[dict[str, object]]: ...


class Takeover(Protocol):
    """What is needed of `client.answers.Takeover`."""

    @property
    def at_us(self) -> int: ...
    @property
    def epoch(self) -> int: ...
    @property
    def worker(self) -> str: ...


class Record(Protocol):
    """What is needed of `client.answers.Record`."""

    @property
    def saga(self) -> Saga: ...
    @property
    def uid(self) -> str: ...
    @property
    def traceparent(self) -> str | None: ...
    @property
    def left_undone(self) -> tuple[str, ...]: ...
    @property
    def journal(self) -> "Sequence[Turn]": ...
    @property
    def takeovers(self) -> "Sequence[Takeover]": ...
    @property
    def children(self) -> "Sequence[Record]": ...


def tree_of(record: Record, *, now_us: int) -> Node:
    """The tree of a saga and of its children. An open root ends now."""
    story = read_story([turn.body for turn in record.journal])
    saga = record.saga
    begun_us = story.started_us if story.started_us is not None else now_us
    is_open = saga.status in OPEN_STATES
    root = Node(
        f"{saga.type} {saga.id}",
        saga.status,
        begun_us,
        now_us if is_open else (story.ended_us or _last_us(story, begun_us)),
        note=saga.error or "",
        span_id=ids.span_id(record.uid, ids.ROOT),
        trace_id=ids.trace_id(record.uid, record.traceparent),
    )
    children = {child.saga.id: child for child in record.children}
    root.children = sorted(_nodes(story, record, children, now_us), key=lambda node: node.begun_us)
    return root


def drawn(root: Node) -> Iterator[str]:
    """The tree as lines, with times from its own beginning."""
    yield _line(root, root.begun_us, root=True)
    yield from _branches(root, root.begun_us, "")


def _branches(node: Node, zero_us: int, indent: str) -> Iterator[str]:
    for n, child in enumerate(node.children):
        last = n == len(node.children) - 1
        yield f"{indent}{'└─ ' if last else '├─ '}{_line(child, zero_us)}"
        yield from _branches(child, zero_us, f"{indent}{'   ' if last else '│  '}")


def _line(node: Node, zero_us: int, *, root: bool = False) -> str:
    begun = "" if root else f"+{_seconds(node.begun_us - zero_us)} "
    length = "" if node.ended_us is None else f"  {_seconds(node.ended_us - node.begun_us)}"
    state = f"  {node.state}" if node.state else ""
    note = f": {node.note}" if node.note and node.state else f"  {node.note}" if node.note else ""
    return f"{begun}{node.title}{state}{note}{length}"


def _nodes(story: Story, record: Record, children: Mapping[str, Record], now_us: int) -> Iterator[Node]:
    for operation in story.operations.values():
        node = _operation(operation, children, now_us)
        if operation.kind not in ("set", "timeout"):
            node.span_id = ids.span_id(record.uid, str(operation.seq))
        yield node
        if operation.undo is not None:
            yield _undo(operation, record.uid, now_us)
    for mark in story.marks:
        yield Node(mark.kind, "", mark.at_us, note=mark.text)
    for takeover in record.takeovers:
        if story.started_us is None or takeover.at_us < story.started_us:
            continue  # Whoever had the shard before its first turn took nothing over from it.
        yield Node("taken over", "", takeover.at_us, note=f"by {takeover.worker} (epoch {takeover.epoch})")
    if story.taken_back is not None:
        yield _taken_back(story.taken_back, record.uid, now_us)
    if record.left_undone:
        yield Node("left undone", "", _last_us(story, now_us), note=", ".join(record.left_undone))


def _operation(operation: Operation, children: Mapping[str, Record], now_us: int) -> Node:
    service = f" -> {operation.service}" if operation.service else ""
    if operation.kind in WRITTEN:
        return Node(f"#{operation.seq} {operation.title}", "", operation.begun_us, seq=operation.seq)
    taken_back = operation.undo is not None and operation.undo.state == "undone"
    failed = operation.state in ("failed", "unknown") or operation.stuck
    node = Node(
        f"#{operation.seq} {operation.title}{service}",
        f"{'stuck' if operation.stuck else operation.state}{', taken back' if taken_back else ''}",
        operation.begun_us,
        now_us if operation.ended_us is None else operation.ended_us,
        operation.seq,
        _why(operation) if failed else "",
    )
    if operation.kind == "child" and operation.id in children:
        node.children = [tree_of(children[operation.id], now_us=now_us)]
    elif len(operation.attempts) > 1:
        node.children = [_attempt(attempt) for attempt in operation.attempts]
    return node


def _why(operation: Operation) -> str:
    said = operation.attempts[-1].text if operation.attempts else ""
    return said or operation.error_text or operation.error_type


def _undo(operation: Operation, uid: str, now_us: int) -> Node:
    undo = operation.undo
    assert undo is not None
    said = undo.attempts[-1].text if undo.attempts else ""
    node = Node(
        f"undo of #{operation.seq} {operation.title}",
        "stuck" if undo.state == "failed" else undo.state,
        undo.begun_us,
        now_us if undo.ended_us is None else undo.ended_us,
        operation.seq,
        "; ".join(part for part in ("" if undo.state == "undone" else said, undo.note) if part),
        span_id=ids.span_id(uid, ids.undo_part(operation.seq)),
    )
    if len(undo.attempts) > 1:
        node.children = [_attempt(attempt) for attempt in undo.attempts]
    return node


def _taken_back(back: TakenBack, uid: str, now_us: int) -> Node:
    ended_us = now_us if back.ended_us is None else back.ended_us
    return Node(
        "taken back by its parent",
        back.outcome or "open",
        back.begun_us,
        ended_us,
        span_id=ids.span_id(uid, ids.TAKEN_BACK),
    )


def _attempt(attempt: Attempt) -> Node:
    return Node(
        f"attempt {attempt.number}",
        attempt.outcome or "no answer",
        attempt.begun_us,
        attempt.ended_us,
        note=attempt.text,
    )


def _last_us(story: Story, default_us: int) -> int:
    times = [mark.at_us for mark in story.marks]
    times += [o.ended_us if o.ended_us is not None else o.begun_us for o in story.operations.values()]
    return max(times, default=default_us)


def _seconds(us: int) -> str:
    seconds = us / 1_000_000
    if seconds >= 100:
        hours, rest = divmod(int(seconds), 3600)
        return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}m{rest % 60:02}s"
    return f"{seconds:.3f}s"
