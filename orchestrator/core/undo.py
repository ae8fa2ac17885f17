"""Taking back: scopes, and the undo of one operation, which is repeated until it is answered (rules 4, 6, 10).

Undos run newest first, one after the other, on tasks of the runtime: a cancel reaches whoever waits for them only when
they are through. What an undo sends carries everything that a participant with an empty inbox needs (rule 7).
"""

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from orchestrator import limits
from orchestrator.core.decisions import Decision
from orchestrator.core.entries import StepEnded, UndoReplied
from orchestrator.core.outcomes import after
from orchestrator.core.state import SagaState
from orchestrator.core.tasks import SagaFuture, SagaTask, ShieldedFuture
from orchestrator.core.timers import RuntimeTimer
from orchestrator.problems import Problem
from orchestrator.retry import Retry

if TYPE_CHECKING:
    from orchestrator.core.operations import Operation

_POLICY = Retry(first_delay_s=limits.UNDO_FIRST_DELAY_S, max_delay_s=limits.UNDO_MAX_DELAY_S)
_REPEAT_DOUBLINGS_MAX = 4  # 20 s, 40 s ... 320 s: a participant that is down for a day gets no flood


class Place:
    """A scope: a part of the saga that can be taken back by itself. The root is the saga."""

    __slots__ = ("kept", "name", "parent")

    def __init__(self, name: str, parent: "Place | None") -> None:
        self.name = name
        self.parent = parent
        self.kept = False

    def is_kept(self) -> bool:
        """Somebody said so, of this scope or of one around it."""
        return self.kept or (self.parent is not None and self.parent.is_kept())

    def contains(self, other: "Place | None") -> bool:
        """It is the other one, or around it. None is the root."""
        while other is not None and other is not self:
            other = other.parent
        return other is self or self.parent is None


class Undo:
    """The undo of one operation. `done` gets True when it is undone, False when a person gave it up."""

    __slots__ = ("attempt", "done", "in_flight", "of", "problem", "refusals", "st", "timer", "unanswered")

    def __init__(self, of: "Operation") -> None:
        self.of = of
        self.st: SagaState = of.st
        self.done: SagaFuture = self.st.loop.create_future()
        self.attempt = 0
        self.in_flight = False
        self.refusals = 0
        self.unanswered = 0
        self.timer: RuntimeTimer | None = None
        self.problem: Problem | None = None  # why it is stuck

    def begin(self) -> None:
        self.of.state = after(self.of.state, "undo")
        self.send()

    def decision(self) -> Decision:
        """What leaves, for the current attempt."""
        raise NotImplementedError

    def send(self) -> None:
        self.attempt += 1
        self.in_flight = True
        self.of.decide(self.decision())
        self.arm_repeat()

    def arm_repeat(self) -> None:
        delay_s = limits.UNDO_REPEAT_S * 2 ** min(self.unanswered, _REPEAT_DOUBLINGS_MAX)
        self.unanswered += 1
        self.timer = self.st.arm(delay_s, self.send, seq=self.of.seq)

    def send_later(self, problem: Problem | None) -> None:
        """Again, with capped backoff; or when it said so."""
        self.in_flight = False
        self.drop_timer()
        wanted_s = problem.retry_after_s if problem is not None else None
        if wanted_s is None:
            wanted_s = _POLICY.delay_s(self.attempt, self.st.jitter(self.of.seq, -self.attempt))
        self.timer = self.st.arm(wanted_s, self.send)

    def drop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def reply_counts(self, entry: UndoReplied) -> str | None:
        """None, or why the reply is none."""
        if self.done.done():
            return "a late answer to an undo"
        if entry.attempt > self.attempt:
            return "an answer to an undo that was never sent"
        if entry.outcome != "undone" and (entry.attempt != self.attempt or not self.in_flight):
            return f"a late `{entry.outcome}` to an undo"
        return None

    def replied(self, entry: UndoReplied) -> None:
        match entry.outcome:
            case "undone":
                self.finish()
            case "retry":
                self.send_later(entry.problem)
            case "failed":
                self.stick(entry.problem)

    def finish(self) -> None:
        self.drop_timer()
        self.st.came_loose(self)
        self.of.state = after(self.of.state, "undone")
        self.st.operations.pop(self.of.seq, None)
        self.done.set_result(True)

    # ---- a person's word ------------------------------------------------------------------------------------------

    def stick(self, problem: Problem | None) -> None:
        self.in_flight = False
        self.problem = problem
        self.drop_timer()
        why = f"{problem.type}: {problem.text}" if problem is not None else "it was refused"
        self.st.stick(self, f"the undo of {self.of.label} failed: {why}", problem)

    def why_not(self, verb: str) -> str | None:
        return None

    def retry(self) -> None:
        self.refusals = 0
        self.unanswered = 0
        self.send()

    def skip(self, note: str) -> None:
        """It stays undone, and is listed with the note."""
        self.of.state = after(self.of.state, "given_up")
        self.st.left.append(f"{self.of.label} ({note})" if note else self.of.label)
        self.st.left_seqs |= {self.of.seq}
        self.st.operations.pop(self.of.seq, None)
        self.done.set_result(False)


class UndoOfStep(Undo):
    """Runs here, after the step itself has ended (A7): an attempt that timed out may still be at work in its thread."""

    __slots__ = ("seq",)

    def __init__(self, of: "Operation") -> None:
        super().__init__(of)
        self.seq = -1

    def begin(self) -> None:
        self.of.state = after(self.of.state, "undo")
        if not self.step_is_running():
            self.send()

    def step_is_running(self) -> bool:
        raise NotImplementedError

    def step_ended(self, had_effect: bool) -> None:
        """The step that this waited for came to its end."""
        if had_effect:
            self.send()
        else:
            self.finish()

    def send(self) -> None:
        if self.seq < 0:
            self.seq = self.st.internal_seq()
        self.st.steps[self.seq] = self
        super().send()

    def arm_repeat(self) -> None:
        """A step of this process always ends; after a crash it is started again by who loads the saga."""

    def pending_step(self) -> Decision | None:
        return self.decision() if self.in_flight else None

    def is_pending(self) -> bool:
        """It runs."""
        return self.in_flight

    def is_abandoned(self) -> bool:
        """Never: nothing waits for the end of an undo but its saga."""
        return False

    def ended_counts(self, entry: StepEnded) -> str | None:
        return None if self.in_flight and entry.attempt == self.attempt else "an earlier attempt of an undo"

    def ended(self, entry: StepEnded) -> None:
        problem = entry.problem
        if entry.outcome == "succeeded":
            self.finish()
        elif problem is not None and problem.kind == "transient":
            self.send_later(problem)
        else:
            self.refusals += 1
            definite = problem is not None and problem.kind == "failure"
            if definite or self.refusals >= limits.UNDO_ATTEMPTS_MAX:
                self.stick(problem)
            else:
                self.send_later(problem)

    def finish(self) -> None:
        self.st.steps.pop(self.seq, None)
        super().finish()


async def cancel_and_wait(tasks: Iterable[SagaTask]) -> None:
    """Cancel and wait until they have ended: their `finally` blocks may hold operations."""
    live = [task for task in tasks if not task.done()]
    for task in live:
        task.cancel()
    if live:
        await asyncio.wait(live)


async def take_back(operations: "Iterable[Operation]") -> None:
    """Undo these, in this order, each after the one before."""
    for operation in operations:
        if operation.undo is not None or operation.has_effect_to_undo():
            await operation.take_back()


async def undo_place(st: SagaState, place: Place) -> None:
    """Take back what was done in a scope, now: what still runs in it is cancelled first.

    Called by saga code, which is shielded from cancels until it is through and gets them then.
    """
    shield = st.loop.shielded_future()
    current: Any = asyncio.current_task()
    current.shield = shield
    st.loop.system_task(_undo_place(st, place, current, shield))
    try:
        await shield
    finally:
        current.shield = None
    if shield.cancels:
        raise asyncio.CancelledError(*(() if shield.message is None else (shield.message,)))


async def _undo_place(st: SagaState, place: Place, current: SagaTask, shield: ShieldedFuture) -> None:
    try:
        # A task that waits for an undo of its own is left alone: two that cancel each other would wait for ever.
        inside = [t for t in st.loop.live_tasks() if t is not current and t.shield is None and place.contains(t.place)]
        await cancel_and_wait(inside)
        await take_back([op for op in st.undoable() if place.contains(op.place) and not op.is_before_the_pivot()])
    except Exception as error:
        shield.set_exception(error)
    else:
        shield.set_result(None)
