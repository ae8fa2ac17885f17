"""A journal, read as people read it: which operations there were, how each went, and what is open. Pure.

The journal's rows are all that is needed, so `describe`, `amends show`, `amends trace` and the console tell the same
story of a saga whose code is not at hand. Receives and sleeps leave no line when they end; what is said about them is
an inference (see `_infer_waits`) and never steers anything.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Json = Any
Body = Sequence[dict[str, Json]]  # one turn: the entry that came in, then the decisions
State = Literal["open", "succeeded", "failed", "unknown", "done"]

CALLED = ("call", "step", "transaction", "child")
WAITS = ("receive", "sleep", "timeout")


@dataclass(slots=True)
class Attempt:
    """One attempt of an operation or of its undo. `ended_us` None: no answer yet, or none that was taken."""

    number: int
    begun_us: int
    ended_us: int | None = None
    outcome: str = ""
    text: str = ""


@dataclass(slots=True)
class Undo:
    """How an operation is taken back."""

    attempts: list[Attempt] = field(default_factory=list)
    state: Literal["open", "undone", "failed"] = "open"


@dataclass(slots=True)
class Operation:
    """One durable await, or one thing that was written without (publish, set, send, start)."""

    seq: int
    kind: str
    name: str
    begun_us: int
    ended_us: int | None = None
    state: State = "open"
    service: str = ""
    id: str = ""  # of a child, of a started saga, of the saga that a message went to
    body: Json = None
    attempts: list[Attempt] = field(default_factory=list)
    undo: Undo | None = None

    @property
    def title(self) -> str:
        """How it is called in one line."""
        return " ".join(part for part in (self.kind, self.name, self.id) if part)


@dataclass(slots=True)
class Mark:
    """Something that happened to the saga as a whole: a status, a message, a verb, the pivot, the end."""

    at_us: int
    kind: str
    text: str


@dataclass(slots=True)
class Story:
    """Operations in the order of their creation, marks in the order of time."""

    started_us: int | None = None
    ended_us: int | None = None
    operations: dict[int, Operation] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)
    turns: int = 0
    undoing_steps: dict[int, int] = field(default_factory=dict)  # seq of an undo of a step -> seq of the step


def read_story(bodies: Iterable[Body]) -> Story:
    """The story of a journal, from its first row on. Lines that it does not know (of a newer version) are passed over."""
    story = Story()
    for body in bodies:
        if not body:
            continue
        entry, decisions = body[0], body[1:]
        at_us = int(entry.get("at", 0))
        story.turns += 1
        _enter(story, entry, at_us)
        _infer_waits(story, entry, decisions, at_us)
        for decision in decisions:
            _decide(story, decision, at_us)
    return story


def waiting_for(story: Story) -> tuple[str, ...]:
    """What is open, the oldest first: `call ChargeCard, attempt 2`, `receive PaymentSettled`, `undo of ReserveStock`."""
    lines: list[str] = []
    for operation in story.operations.values():
        if operation.undo is not None and operation.undo.state == "open":
            lines.append(f"undo of {operation.title}{_attempt(operation.undo.attempts)}")
        elif operation.state == "open" and operation.undo is None and operation.kind in (*CALLED, *WAITS):
            lines.append(f"{operation.title}{_attempt(operation.attempts)}")
    return tuple(lines)


def _attempt(attempts: Sequence[Attempt]) -> str:
    return f", attempt {attempts[-1].number}" if attempts and attempts[-1].number > 1 else ""


def _enter(story: Story, entry: dict[str, Json], at_us: int) -> None:
    match entry.get("in"):
        case "started":
            story.started_us = at_us
        case "replied" | "step_ended":
            _end_attempt(story, entry, at_us)
        case "undo_replied":
            _end_undo(story, int(entry["seq"]), entry, str(entry.get("outcome", "")), at_us)
        case "message":
            channel = f" on {entry['channel']}" if entry.get("channel") else ""
            story.marks.append(Mark(at_us, "message", f"{entry.get('type', '')}{channel}"))
        case "verb":
            note = f": {entry['note']}" if entry.get("note") else ""
            story.marks.append(Mark(at_us, "verb", f"{entry.get('verb', '')}{note}"))
        case "undo_requested":
            story.marks.append(Mark(at_us, "undo requested", str(entry.get("key", ""))))
        case _:
            pass  # a timer, or an entry of a later version


def _end_attempt(story: Story, entry: dict[str, Json], at_us: int) -> None:
    seq, outcome = int(entry["seq"]), str(entry.get("outcome", ""))
    if seq in story.undoing_steps:
        _end_undo(story, story.undoing_steps[seq], entry, "undone" if outcome == "succeeded" else "retry", at_us)
        return
    operation = story.operations.get(seq)
    if operation is None:
        return
    problem = entry.get("problem") or {}
    attempt = _attempt_numbered(operation.attempts, int(entry.get("attempt", 1)), operation.begun_us)
    attempt.ended_us, attempt.outcome, attempt.text = at_us, outcome, _problem_text(problem)
    if outcome == "succeeded":
        operation.state = "succeeded"
    elif outcome == "retry":
        return  # The next attempt is a decision of its own, perhaps after a delay.
    else:
        operation.state = "failed" if problem.get("effect") == "none" else "unknown"
    operation.ended_us = at_us


def _end_undo(story: Story, seq: int, entry: dict[str, Json], outcome: str, at_us: int) -> None:
    operation = story.operations.get(seq)
    if operation is None:
        return
    operation.undo = undo = operation.undo or Undo()
    attempt = _attempt_numbered(undo.attempts, int(entry.get("attempt", 1)), at_us)
    attempt.ended_us, attempt.outcome, attempt.text = at_us, outcome, _problem_text(entry.get("problem") or {})
    if outcome in ("undone", "failed"):
        undo.state = "undone" if outcome == "undone" else "failed"


def _decide(story: Story, decision: dict[str, Json], at_us: int) -> None:
    op = str(decision.get("op", ""))
    match op:
        case "call" | "child" | "step" | "transaction":
            _begin_attempt(story, decision, op, at_us)
        case "undo" | "undo_child":
            _begin_undo(story, int(decision["undo_of"]), int(decision.get("attempt", 1)), at_us)
        case "receive" | "sleep" | "timeout":
            seq = int(decision["seq"])
            story.operations[seq] = Operation(seq, op, str(decision.get("name", "")), at_us)
        case "start" | "send" | "publish" | "set":
            seq = int(decision["seq"])
            name = str(decision.get("key" if op == "set" else "name", ""))
            body = decision.get("value" if op == "set" else "body")
            story.operations[seq] = Operation(
                seq, op, name, at_us, at_us, "done", id=str(decision.get("id", "")), body=body
            )
        case "pivot":
            story.marks.append(Mark(at_us, "pivot", "from here on only forward"))
        case "status":
            reason = f": {decision['reason']}" if decision.get("reason") else ""
            story.marks.append(Mark(at_us, "status", f"{decision.get('name', '')}{reason}"))
        case "finish":
            _finish(story, decision, at_us)
        case _:
            pass  # settle and answer_undo are the runtime's; the rest is of a later version


def _begin_attempt(story: Story, decision: dict[str, Json], op: str, at_us: int) -> None:
    seq, number = int(decision["seq"]), int(decision.get("attempt", 1))
    if (undone := decision.get("undo_of")) is not None:
        story.undoing_steps[seq] = int(undone)
        _begin_undo(story, int(undone), number, at_us)
        return
    operation = story.operations.get(seq)
    if operation is None:
        operation = story.operations[seq] = Operation(
            seq,
            op,
            str(decision.get("name", "")),
            at_us,
            service=str(decision.get("service", "")),
            id=str(decision.get("id", "")),
            body=decision.get("body"),
        )
    _attempt_numbered(operation.attempts, number, at_us)


def _begin_undo(story: Story, seq: int, number: int, at_us: int) -> None:
    operation = story.operations.get(seq)
    if operation is None:
        return
    operation.undo = operation.undo or Undo()
    operation.undo.state = "open"
    _attempt_numbered(operation.undo.attempts, number, at_us)


def _finish(story: Story, decision: dict[str, Json], at_us: int) -> None:
    problem = _problem_text(decision.get("problem") or {})
    left = f"; left undone: {', '.join(decision['left_undone'])}" if decision.get("left_undone") else ""
    story.marks.append(Mark(at_us, "end", f"{decision.get('name', '')}{': ' + problem if problem else ''}{left}"))
    story.ended_us = at_us


def _attempt_numbered(attempts: list[Attempt], number: int, at_us: int) -> Attempt:
    found = next((attempt for attempt in attempts if attempt.number == number), None)
    if found is None:
        found = Attempt(number, at_us)
        attempts.append(found)
    return found


def _infer_waits(story: Story, entry: dict[str, Json], decisions: Sequence[dict[str, Json]], at_us: int) -> None:
    """End what this turn shows to have ended, though no line says so.

    A message ends the oldest receive that names its type. A timer after which the saga went on, other than by another
    attempt, ends the oldest sleep, else the oldest receive or timeout. The end of the saga ends them all.
    """
    open_waits = [o for o in story.operations.values() if o.kind in WAITS and o.state == "open"]
    ended: list[Operation] = []
    if any(decision.get("op") == "finish" for decision in decisions):
        ended = open_waits
    elif entry.get("in") == "message":
        ended = [o for o in open_waits if o.kind == "receive" and _names(o, str(entry.get("type", "")))][:1]
    elif entry.get("in") == "timer" and any(_goes_on(decision) for decision in decisions):
        ended = sorted(open_waits, key=lambda o: (o.kind != "sleep", o.seq))[:1]
    for operation in ended:
        operation.state, operation.ended_us = "done", at_us


def _goes_on(decision: dict[str, Json]) -> bool:
    return not (int(decision.get("attempt", 1)) > 1 or decision.get("op") in ("undo", "settle"))


def _names(receive: Operation, type_name: str) -> bool:
    return type_name in receive.name.replace("|", " ").replace(",", " ").split()


def _problem_text(problem: dict[str, Json]) -> str:
    text, type_name = str(problem.get("text", "")), str(problem.get("type", ""))
    return text if not type_name or text.startswith(type_name) else f"{type_name}: {text}" if text else type_name
