"""What comes into a saga: the inbound entries of its journal. A turn feeds exactly one (rule 15).

Each holds `at_us`, microseconds since the epoch in the database's time; the saga's clock is the latest one seen.
In the journal an entry is a JSON object whose `in` names it: {"in": "replied", "at": …, "seq": 1, …}. What is
usual is left out: the first attempt, the outcome "succeeded", what is null. Where it is written it means the same.
"""

from dataclasses import MISSING, fields
from typing import Any, Literal

from orchestrator.core.records import record
from orchestrator.problems import Problem

Json = Any  # what `json.loads` returns; a recursive alias would cost casts at every border


@record
class Started:
    at_us: int
    input: Json


@record
class Replied:
    """A participant's answer to `seq`, or a child's end. `in_doubt`: an earlier attempt may have had an effect.

    `retry` is a participant's word for "no effect, again" (problem.effect none, problem.retry_after_s burns no attempt)
    or "lost, nobody knows" (effect unknown). `conflict`: it has another command under this key; no turn ever takes it,
    the saga is blocked.
    """

    at_us: int
    seq: int
    attempt: int
    outcome: Literal["succeeded", "failed", "retry", "conflict"]
    body: Json = None
    problem: Problem | None = None


@record
class StepEnded:
    """A local step, a transaction or the undo of one came to its end in this process."""

    at_us: int
    seq: int
    attempt: int
    outcome: Literal["succeeded", "raised"]
    body: Json = None
    problem: Problem | None = None


@record
class UndoReplied:
    """The answer to the undo of `seq` (the operation undone): `undone`, a definite `failed`, or `retry`."""

    at_us: int
    seq: int
    attempt: int
    outcome: Literal["undone", "failed", "retry"]
    problem: Problem | None = None


@record
class TimerFired:
    at_us: int
    timer: int


@record
class MessageArrived:
    at_us: int
    message_id: str
    type: str
    channel: str
    body: Json


@record
class UndoRequested:
    """The parent takes this saga back (rule 11): running, it is cancelled; completed, its undo stack runs.

    `key` is the parent's operation; the answer goes to `reply_to` as for a participant.
    """

    at_us: int
    key: str
    attempt: int
    reply_to: str


@record
class SettleRequested:
    """The parent will never take this saga back: its root has ended, or whoever could have asked for it."""

    at_us: int
    key: str


@record
class VerbGiven:
    """A person's (or a program's) word: see `core.lifecycle` for where each is allowed."""

    at_us: int
    verb: Literal["cancel", "terminate", "retry", "skip", "fail"]
    note: str = ""


Entry = (
    Started
    | Replied
    | StepEnded
    | UndoReplied
    | TimerFired
    | MessageArrived
    | UndoRequested
    | SettleRequested
    | VerbGiven
)

_NAMES: dict[type, str] = {
    Started: "started",
    Replied: "replied",
    StepEnded: "step_ended",
    UndoReplied: "undo_replied",
    TimerFired: "timer",
    MessageArrived: "message",
    UndoRequested: "undo_requested",
    SettleRequested: "settle_requested",
    VerbGiven: "verb",
}
_USUAL: dict[type, dict[str, Json]] = {
    Started: {"input": None},
    Replied: {"attempt": 1, "outcome": "succeeded", "body": None, "problem": None},
    StepEnded: {"attempt": 1, "outcome": "succeeded", "body": None, "problem": None},
    UndoReplied: {"attempt": 1, "problem": None},
    MessageArrived: {"channel": "", "body": None},
    UndoRequested: {"attempt": 1},
    VerbGiven: {"note": ""},
}
_ALWAYS = object()  # a field that nothing is usual of
_FIELDS = {
    cls: tuple((f.name, _USUAL.get(cls, {}).get(f.name, _ALWAYS)) for f in fields(cls) if f.name != "at_us")
    for cls in _NAMES
}
# By name: the class, and what is usual of fields that the class itself has no default for.
_CLASSES: dict[str, tuple[Any, tuple[tuple[str, Json], ...]]] = {
    name: (
        cls,
        tuple(
            (f.name, _USUAL[cls][f.name]) for f in fields(cls) if f.default is MISSING and f.name in _USUAL.get(cls, {})
        ),
    )
    for cls, name in _NAMES.items()
}


def entry_to_json(entry: Entry) -> dict[str, Json]:
    """Short, for the journal: what is usual is left out."""
    cls = type(entry)
    out: dict[str, Json] = {"in": _NAMES[cls], "at": entry.at_us}
    for name, usual in _FIELDS[cls]:
        value = getattr(entry, name)
        if value != usual:
            out[name] = value.to_json() if isinstance(value, Problem) else value
    return out


def entry_from_json(data: dict[str, Json]) -> Entry:
    """The inverse of `entry_to_json`. Raises KeyError for what is no entry."""
    values = data.copy()
    cls, usual = _CLASSES[values.pop("in")]
    for name, value in usual:
        values.setdefault(name, value)
    if "problem" in values:
        values["problem"] = Problem.from_json(values["problem"])
    entry: Entry = cls(at_us=values.pop("at"), **values)
    return entry
