"""A saga as a tree of what happened when, from the rows of the database and nothing else. Pure.

Times are the journal's: an operation begins with the turn that decided it and ends with the turn that took its answer,
so waiting for a relay or a taken-over orchestrator is part of it, and is to be seen.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from orchestrator.story import Attempt, Operation, Story, read_story

WRITTEN = ("publish", "send", "start", "set")
OPEN_STATES = ("open", "queued", "running", "compensating", "stuck", "blocked")


@dataclass(slots=True)
class Node:
    """One line. `ended_us` None: it is open, or it has no length."""

    title: str
    state: str
    begun_us: int
    ended_us: int | None = None
    seq: int | None = None
    note: str = ""
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
        yield _operation(operation, children, now_us)
        if operation.undo is not None:
            yield _undo(operation, now_us)
    for mark in story.marks:
        yield Node(mark.kind, "", mark.at_us, note=mark.text)
    for takeover in record.takeovers:
        yield Node("taken over", "", takeover.at_us, note=f"by {takeover.worker} (epoch {takeover.epoch})")
    if record.left_undone:
        yield Node("left undone", "", _last_us(story, now_us), note=", ".join(record.left_undone))


def _operation(operation: Operation, children: Mapping[str, Record], now_us: int) -> Node:
    service = f" -> {operation.service}" if operation.service else ""
    if operation.kind in WRITTEN:
        return Node(f"#{operation.seq} {operation.title}", "", operation.begun_us, seq=operation.seq)
    taken_back = operation.undo is not None and operation.undo.state == "undone"
    node = Node(
        f"#{operation.seq} {operation.title}{service}",
        f"{operation.state}{', taken back' if taken_back else ''}",
        operation.begun_us,
        operation.ended_us if operation.ended_us is not None else _open_end(operation.state, now_us),
        operation.seq,
        operation.attempts[-1].text if operation.attempts and operation.state not in ("succeeded", "done") else "",
    )
    if operation.kind == "child" and operation.id in children:
        node.children = [tree_of(children[operation.id], now_us=now_us)]
    elif len(operation.attempts) > 1:
        node.children = [_attempt(attempt) for attempt in operation.attempts]
    return node


def _undo(operation: Operation, now_us: int) -> Node:
    assert operation.undo is not None
    attempts = operation.undo.attempts
    begun_us = attempts[0].begun_us if attempts else operation.begun_us
    ended = [attempt.ended_us for attempt in attempts if attempt.ended_us is not None]
    node = Node(
        f"undo of #{operation.seq} {operation.title}",
        operation.undo.state,
        begun_us,
        ended[-1] if ended and operation.undo.state != "open" else _open_end(operation.undo.state, now_us),
        operation.seq,
        attempts[-1].text if attempts else "",
    )
    if len(attempts) > 1:
        node.children = [_attempt(attempt) for attempt in attempts]
    return node


def _attempt(attempt: Attempt) -> Node:
    return Node(
        f"attempt {attempt.number}", attempt.outcome or "no answer", attempt.begun_us, attempt.ended_us, note=attempt.text
    )


def _open_end(state: str, now_us: int) -> int | None:
    return now_us if state == "open" else None


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
