"""What a journal tells: operations, their attempts, how they were taken back, and marks of the saga as a whole."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Json = Any
Body = Sequence[dict[str, Json]]  # one turn: the entry that came in, then the decisions

# done: what is written without waiting, sleeps and receives. cancelled: nobody waited for it any more.
State = Literal["open", "succeeded", "failed", "unknown", "done", "cancelled"]
UndoState = Literal["open", "undone", "failed", "left"]

CALLED = ("call", "step", "transaction", "child")
WAITS = ("receive", "sleep", "timeout")
WRITTEN = ("publish", "send", "start", "set")


@dataclass(slots=True)
class Attempt:
    """One attempt of an operation or of its undo. `ended_us` None: no answer yet, or none that was taken.

    in_doubt: its answer left open whether it took effect.
    """

    number: int
    begun_us: int
    ended_us: int | None = None
    outcome: str = ""
    text: str = ""
    in_doubt: bool = False


@dataclass(slots=True)
class Undo:
    """How an operation is taken back. failed: refused, a person is asked; left: a person (or the end) gave it up."""

    name: str
    begun_us: int
    ended_us: int | None = None
    known: str = ""  # done or unknown: what the orchestrator knew of the operation
    attempts: list[Attempt] = field(default_factory=list)
    state: UndoState = "open"
    note: str = ""
    late_us: int | None = None  # the operation's own success came while it was being undone


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
    channel: str = ""  # of a receive or a send
    topic: str = ""  # of a publish, without the installation's prefix
    body: Json = None
    attempts: list[Attempt] = field(default_factory=list)
    undo: Undo | None = None
    error_type: str = ""
    error_text: str = ""
    in_doubt: bool = False  # an attempt ended, and nobody knows how
    stuck: bool = False  # it failed after the pivot, and a person is asked

    @property
    def title(self) -> str:
        """How it is called in one line."""
        return " ".join(part for part in (self.kind, self.name, self.id) if part)

    @property
    def is_open(self) -> bool:
        return self.ended_us is None


@dataclass(slots=True)
class Mark:
    """Something that happened to the saga as a whole: a status, a message, a verb, the pivot, the end."""

    at_us: int
    kind: str
    text: str


@dataclass(slots=True)
class TakenBack:
    """The parent took this saga back (rule 11): from its request to our answer."""

    key: str
    begun_us: int
    ended_us: int | None = None
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class Mail:
    """A message that nobody has received yet."""

    type: str
    channel: str


@dataclass(slots=True)
class Story:
    """Operations in the order of their creation, marks in the order of time. `status` is what the journal says last."""

    started_us: int | None = None
    ended_us: int | None = None  # of the first end: a completed child may go on, to be taken back
    status: str = "running"
    undone_because: str = ""
    end: str = ""  # completed, failed, cancelled or terminated: the first one
    error_type: str = ""
    error_text: str = ""
    left_undone: tuple[str, ...] = ()
    operations: dict[int, Operation] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)
    taken_back: TakenBack | None = None
    turns: int = 0
    pivot_seq: int | None = None  # what is numbered higher came after the pivot
    now_us: int = 0  # the saga's clock: the latest entry's time, never running backwards
    undoing_steps: dict[int, int] = field(default_factory=dict)  # seq of an undo of a step -> seq of the step
    mail: list[Mail] = field(default_factory=list)

    @property
    def open_operations(self) -> list[Operation]:
        return [operation for operation in self.operations.values() if operation.is_open]


@dataclass(slots=True)
class Ended:
    """What came to its end with one turn, in order. `root`: the saga itself, which is the last word on it."""

    operations: list[Operation] = field(default_factory=list)
    undos: list[Operation] = field(default_factory=list)  # operations whose undo ended
    root: bool = False
    taken_back: bool = False
