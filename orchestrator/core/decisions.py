"""What goes out of a turn. The engine carries them out in the transaction that stores the turn, or right after it.

In the journal each stands behind its entry as {"op": "call", "seq": 3, "name": …}: `to_json` gives what a replay must
repeat (compared, rule 18) and what people read in `amends show`. Everything the engine needs besides can be had again
by replaying, so it is not stored.
"""

from collections.abc import Callable
from dataclasses import field
from typing import Any, Literal

from orchestrator.core.entries import Json
from orchestrator.core.records import record
from orchestrator.problems import Problem

Known = Literal["done", "unknown"]


@record
class SendCommand:
    """Attempt `attempt` of a call. The key is the identity's key(seq). `again` counts the copies of this attempt that
    were sent because no answer came.
    """

    seq: int
    attempt: int
    service: str
    type: str
    body: Json
    undo: bool  # there is a way back
    again: int = field(default=0, compare=False)

    def to_json(self) -> dict[str, Json]:
        if self.again:
            return {"op": "call", "seq": self.seq, "attempt": self.attempt, "name": self.type, "again": self.again}
        if self.attempt > 1:
            return {"op": "call", "seq": self.seq, "attempt": self.attempt, "name": self.type}
        return {"op": "call", "seq": self.seq, "name": self.type, "service": self.service, "body": self.body}


@record
class SendUndo:
    """Undo the call `seq`: carries all that a participant with an empty inbox needs (rule 7)."""

    seq: int
    attempt: int
    service: str
    type: str
    body: Json
    known: Known
    reply: Json = None
    reply_attempts: int = 1
    sent_at_us: int = 0  # when the first attempt was decided

    def to_json(self) -> dict[str, Json]:
        return {"op": "undo", "undo_of": self.seq, "attempt": self.attempt, "name": self.type, "known": self.known}


@record
class StartStep:
    """Run a local function after the commit. `args` are decoded copies; `undo_of` names the step this takes back.

    `maybe_ran`: it is started again after a load, so a process that is gone may have run this very attempt. Whatever it
    raises now, a Failure too, must be reported with effect "unknown": a no is definite only if it was the first (A5).
    """

    seq: int
    attempt: int
    name: str
    kind: Literal["step", "transaction"]
    function: Callable[..., Any] = field(compare=False)
    args: tuple[Any, ...] = field(compare=False)
    timeout_s: float | None = None
    database: str = "default"
    undo_of: int | None = None
    maybe_ran: bool = field(default=False, compare=False)

    def to_json(self) -> dict[str, Json]:
        out: dict[str, Json] = {"op": self.kind, "seq": self.seq, "name": self.name}
        if self.attempt > 1:
            out["attempt"] = self.attempt
        if self.undo_of is not None:
            out["undo_of"] = self.undo_of
        return out


@record
class StartChild:
    seq: int
    type: str
    version: int
    id: str
    input: Json
    saga: Any = field(default=None, compare=False, repr=False)  # the SagaType, for those who run it in this process

    def to_json(self) -> dict[str, Json]:
        return {"op": "child", "seq": self.seq, "name": self.type, "id": self.id}


@record
class UndoChild:
    """Take a child back: cancel it if it runs, run its undo stack if it is completed. Answered by UndoReplied."""

    seq: int
    attempt: int
    id: str
    type: str

    def to_json(self) -> dict[str, Json]:
        return {"op": "undo_child", "undo_of": self.seq, "attempt": self.attempt, "id": self.id}


@record
class SettleChild:
    """This saga will never take that child back: the child may let its participants forget, too."""

    seq: int
    id: str

    def to_json(self) -> dict[str, Json]:
        return {"op": "settle_child", "seq": self.seq, "id": self.id}


@record
class StartSaga:
    """A saga of its own (`s.start`)."""

    seq: int
    type: str
    version: int
    id: str
    input: Json
    saga: Any = field(default=None, compare=False, repr=False)

    def to_json(self) -> dict[str, Json]:
        return {"op": "start", "seq": self.seq, "name": self.type, "id": self.id}


@record
class SendMessage:
    seq: int
    saga_id: str
    type: str
    channel: str
    body: Json

    def to_json(self) -> dict[str, Json]:
        return {"op": "send", "seq": self.seq, "name": self.type, "id": self.saga_id, "channel": self.channel}


@record
class Publish:
    seq: int
    topic: str
    key: str
    type: str
    body: Json

    def to_json(self) -> dict[str, Json]:
        return {"op": "publish", "seq": self.seq, "name": self.type, "topic": self.topic, "body": self.body}


@record
class SetValue:
    seq: int
    key: str
    value: Json

    def to_json(self) -> dict[str, Json]:
        return {"op": "set", "seq": self.seq, "key": self.key, "value": self.value}


@record
class Wait:
    """A `receive`, a sleep, an asyncio timeout or a pivot: nothing for the engine to do. A replay must
    repeat it, and people read it.
    """

    seq: int
    what: Literal["receive", "sleep", "timeout", "pivot"]
    name: str = ""

    def to_json(self) -> dict[str, Json]:
        return {"op": self.what, "seq": self.seq, "name": self.name}


@record
class SetStatus:
    """The saga changes its status without ending: compensating, stuck (with why), running again."""

    status: Literal["running", "compensating", "stuck"]
    reason: str = ""
    problem: Problem | None = None

    def to_json(self) -> dict[str, Json]:
        return {"op": "status", "name": self.status, "reason": self.reason}


@record
class Settle:
    """The operations of one service need no inbox row any more (rule 7)."""

    service: str
    seqs: tuple[int, ...]

    def to_json(self) -> dict[str, Json]:
        return {"op": "settle", "service": self.service, "seqs": list(self.seqs)}


@record
class Finish:
    """The end. A child's end is told to its parent by the engine, from the saga's row."""

    status: Literal["completed", "failed", "cancelled", "terminated"]
    result: Json = None
    problem: Problem | None = None
    left_undone: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        out: dict[str, Json] = {"op": "finish", "name": self.status}
        if self.problem is not None:
            out["problem"] = {"type": self.problem.type, "text": self.problem.text}
        if self.left_undone:
            out["left_undone"] = list(self.left_undone)
        return out


@record
class AnswerUndo:
    """This saga, a child, has been taken back (or can't be): answer its parent's UndoRequested."""

    key: str
    attempt: int
    reply_to: str
    outcome: Literal["undone", "failed"]
    problem: Problem | None = None

    def to_json(self) -> dict[str, Json]:
        return {"op": "answer_undo", "key": self.key, "outcome": self.outcome}


Decision = (
    SendCommand
    | SendUndo
    | StartStep
    | StartChild
    | UndoChild
    | SettleChild
    | StartSaga
    | SendMessage
    | Publish
    | SetValue
    | Wait
    | SetStatus
    | Settle
    | Finish
    | AnswerUndo
)


@record
class Timer:
    """A timer that is not due yet. `seq` names the call whose patience it measures: such a timer never burns an attempt
    while that command still lies in the outbox (rule 9); `armed_us` and `due_us` are in the saga's time.
    """

    number: int
    due_us: int
    armed_us: int
    seq: int | None = None


@record
class Turn:
    """All that one entry led to."""

    decisions: tuple[Decision, ...]
    next_timer: Timer | None
