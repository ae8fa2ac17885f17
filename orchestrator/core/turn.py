"""A live saga: feed it an entry, get what it decided. One entry is one turn (rule 15)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.core import determinism, values
from orchestrator.core.blocked import Blocked, TurnTooLong, blocked
from orchestrator.core.calls import Call, Child
from orchestrator.core.decisions import Decision, Finish, StartStep, Timer, Turn
from orchestrator.core.ending import Ending
from orchestrator.core.entries import (
    Entry,
    MessageArrived,
    Replied,
    SettleRequested,
    Started,
    StepEnded,
    TimerFired,
    UndoReplied,
    UndoRequested,
    VerbGiven,
)
from orchestrator.core.ids import SagaIdentity
from orchestrator.core.lifecycle import TERMINAL, Status, refusal
from orchestrator.core.loop import Outer, SagaLoop
from orchestrator.core.mailbox import Mailbox
from orchestrator.core.saga import Saga
from orchestrator.core.saga_type import SagaType
from orchestrator.core.state import SagaState, Site
from orchestrator.core.timers import AnyTimer
from orchestrator.core.undo import Place
from orchestrator.errors import Misuse
from orchestrator.problems import Problem, problem_of

_NOTHING = (
    "the saga waits here for what is no operation of it (a future of another thread, an event that nobody sets), so "
    "nothing can ever wake it. Await a step for what is outside: s.step(function, …)"
)


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing changed: the entry is counted under its reason, not journaled (C7)."""

    reason: str


class LiveSaga:
    """One saga in memory. After a Blocked it must be thrown away (`evict`): it is ahead of its journal."""

    __slots__ = ("_ending", "_mailbox", "_saga_type", "_st", "identity", "position")

    def __init__(self, saga_type: SagaType[Any, Any], identity: SagaIdentity) -> None:
        self.identity = identity
        self.position = 0  # turns fed
        self._saga_type = saga_type
        self._st = SagaState(identity)
        self._st.root = Place("", None)
        self._mailbox = Mailbox()
        self._ending = Ending(self._st, saga_type)

    # ---- what the engine asks ---------------------------------------------------------------------------------------

    @property
    def status(self) -> Status:
        return self._st.status

    @property
    def message_ids(self) -> "frozenset[str] | set[str]":
        """Of all messages that ever came."""
        return self._mailbox.ids

    @property
    def next_timer(self) -> Timer | None:
        timer = self._st.loop.timers.first()
        return _timer(timer) if timer is not None else None

    def timers(self) -> tuple[Timer, ...]:
        """All that are set, in the order in which they fire. Those with a `seq` may be held back and overtaken."""
        return tuple(_timer(timer) for timer in self._st.loop.timers.in_order())

    def pending_steps(self) -> tuple[StartStep, ...]:
        """To start (again) after a load: steps that somebody waits for, and undos of steps. All are `maybe_ran`."""
        if self._st.status in TERMINAL:
            return ()
        pending = (step.pending_step() for _, step in sorted(self._st.steps.items()))
        return tuple(replace(step, maybe_ran=True) for step in pending if step is not None)

    def has_steps_under_way(self) -> bool:
        """Whether `pending_steps` or `abandoned_steps` would name any: asked after each turn, so cheaply."""
        if self._st.status in TERMINAL:
            return False
        return any(step.is_pending() or step.is_abandoned() for step in self._st.steps.values())

    def abandoned_steps(self) -> tuple[tuple[int, int], ...]:
        """(seq, attempt) of steps that nobody waits for but their undo, which begins when they have ended.

        After a load nobody knows of them any more. Report them as StepEnded(raised, STEP_LOST), but not before a
        process that may still run them has lost its lease.
        """
        if self._st.status in TERMINAL:
            return ()
        steps = [step for _, step in sorted(self._st.steps.items()) if step.is_abandoned()]
        return tuple((step.seq, step.attempts.number) for step in steps)

    def pending_sends(self) -> tuple[Decision, ...]:
        """Open commands, undos and children: to send again when Kafka may have lost them (rule 13)."""
        if self._st.status in TERMINAL:
            return ()
        operations = [op for _, op in sorted(self._st.operations.items()) if isinstance(op, Call | Child)]
        pending = (operation.pending_send() for operation in operations)
        return tuple(decision for decision in pending if decision is not None)

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """Names of the operations that are open or being undone, for people."""
        return tuple(op.name for _, op in sorted(self._st.operations.items()) if op.state in ("open", "undoing"))

    @property
    def decided(self) -> Sequence[Decision]:
        """In the last turn."""
        return self._st.decisions

    def site_of(self, index: int) -> Site | None:
        """Where in the code stands what led to the decision `index` of the last turn."""
        return self._st.sites[index] if index < len(self._st.sites) else None

    @contextmanager
    def replaying(self) -> Iterator[None]:
        """Around calls of `advance` that repeat the past: `s.log` is silent. Nothing else may run in between."""
        self._st.loop.replaying = True
        before = self._enter()
        try:
            yield
        finally:
            self._leave(before)
            self._st.loop.replaying = False

    def interrupt(self) -> None:
        """For the watchdog, from its thread, before it raises TurnTooLong in this one: the turn ends in Blocked
        whatever the saga's code does with the exception.
        """
        text = "a turn ran too long: is there a loop without await, or a call that blocks?"
        self._st.loop.broken = blocked("TurnTooLong", text)

    def evict(self) -> None:
        """Throw it out of memory: its coroutines are closed, no operation of a `finally` block runs."""
        loop = self._st.loop
        loop.evict()
        for unbegun in self._st.unbegun.values():
            unbegun.coroutine.close()
        self._mailbox.receivers.clear()
        self._st.forget()

    # ---- a turn -----------------------------------------------------------------------------------------------------

    def feed(self, entry: Entry) -> Turn | Ignored:
        """Run until quiet. Raises Blocked: then nothing of this turn may be stored or sent."""
        before = self._enter()
        try:
            reason = self.advance(entry)
        finally:
            self._leave(before)
        if reason is not None:
            return Ignored(reason)
        return Turn(decisions=tuple(self._st.decisions), next_timer=self.next_timer)

    def advance(self, entry: Entry) -> str | None:
        """The turn itself, in `feed` or inside of `replaying`. None, and see `decided`; or why the entry is ignored."""
        st = self._st
        st.begin_turn()
        before_us = st.loop.now_us
        st.loop.now_us = max(before_us, entry.at_us)
        try:
            reason = self._apply(entry)
            if reason is not None:
                st.loop.now_us = before_us
                return reason
            st.loop.run()
        except Blocked:
            raise
        except TurnTooLong as error:
            raise (st.loop.broken or blocked("TurnTooLong", "a turn ran too long")) from error
        except Misuse as error:
            raise Blocked(_problem(error)) from error
        except Exception as error:
            raise Blocked(problem_of(error)) from error
        if st.loop.broken is not None:
            broken = st.loop.broken
            raise (broken if isinstance(broken, Blocked) else Blocked(_problem(broken))) from broken
        if self._waits_for_nothing():
            raise Blocked(_problem(st.loop.misuse(f"{st.loop.waits_at()}: {_NOTHING}")))
        self.position += 1
        return None

    def _enter(self) -> tuple[SagaLoop | None, Outer]:
        """From here on this thread is in the saga: its loop runs, and what reaches outside is refused."""
        loop = self._st.loop
        return determinism.guard(loop), loop.enter()

    def _leave(self, before: tuple[SagaLoop | None, Outer]) -> None:
        guarded, outer = before
        self._st.loop.leave(outer)
        determinism.guard(guarded)

    def _waits_for_nothing(self) -> bool:
        """It has not ended, and no entry but a person's verb could ever wake it."""
        st = self._st
        if st.status in TERMINAL or st.status == "queued" or st.stuck or st.loop.timers.first() is not None:
            return False
        # The newest first: an open one is found at once, however many wait to be undone.
        return not any(op.state in ("open", "undoing") for op in reversed(st.operations.values()))

    def _apply(self, entry: Entry) -> str | None:
        """Make ready what the entry wakes. None, or why it is ignored."""
        if self._st.status in TERMINAL and not isinstance(entry, UndoRequested | SettleRequested):
            return "the saga has ended"
        match entry:
            case Replied():
                return self._replied(entry)
            case StepEnded():
                return self._step_ended(entry)
            case TimerFired():
                return self._timer_fired(entry)
            case MessageArrived():
                return self._mailbox.arrived(entry)
            case UndoReplied():
                return self._undo_replied(entry)
            case Started():
                return self._started(entry)
            case VerbGiven():
                return self._verb_given(entry)
            case UndoRequested():
                return self._ending.undo_requested(entry)
            case SettleRequested():
                return self._ending.settle_requested()

    def _started(self, entry: Started) -> str | None:
        st = self._st
        if st.status != "queued":
            return "the saga was started before"
        given = values.decode(self._saga_type.input_type, entry.input)
        st.move("start")
        st.loop.start_us = st.loop.now_us
        coroutine = self._saga_type.function(Saga(st, self._mailbox), given)
        main = st.loop.create_task(coroutine, name="main", context=Context())
        main.add_done_callback(self._ending.function_ended)
        self._ending.main = main
        return None

    def _replied(self, entry: Replied) -> str | None:
        operation = self._st.operations.get(entry.seq)
        if not isinstance(operation, Call | Child):
            return f"a late `{entry.outcome}`: no such operation is open"
        reason = operation.reply_counts(entry)
        if reason is None:
            operation.replied(entry)
        return reason

    def _undo_replied(self, entry: UndoReplied) -> str | None:
        operation = self._st.operations.get(entry.seq)
        if operation is None or operation.undo is None:
            return f"a late `{entry.outcome}` to an undo: no such undo is open"
        reason = operation.undo.reply_counts(entry)
        if reason is None:
            operation.undo.replied(entry)
        return reason

    def _step_ended(self, entry: StepEnded) -> str | None:
        step = self._st.steps.get(entry.seq)
        if step is None:
            return "the end of a step that nobody waits for"
        reason: str | None = step.ended_counts(entry)
        if reason is None:
            step.ended(entry)
        return reason

    def _timer_fired(self, entry: TimerFired) -> str | None:
        timer = self._st.loop.timers.take(entry.timer, self._st.now_us)
        if isinstance(timer, str):
            return timer
        self._st.site = None
        self._st.loop.fire(timer)
        return None

    def _verb_given(self, entry: VerbGiven) -> str | None:
        st, ending = self._st, self._ending
        reason = refusal(st.status, entry.verb)
        if reason is not None:
            return reason
        match entry.verb:
            case "cancel":
                return ending.cancel()
            case "terminate":
                ending.terminate(entry.note)
            case "fail":
                ending.give_up(entry.note)
            case "retry" | "skip":
                return self._resolve(entry)
        return None

    def _resolve(self, entry: VerbGiven) -> str | None:
        """`retry` and `skip` are about all that is stuck."""
        for item in self._st.stuck:
            if (reason := item.why_not(entry.verb)) is not None:
                return reason
        for item in self._st.unstick():
            if entry.verb == "retry":
                item.retry()
            else:
                item.skip(entry.note)
        return None


def finished(turn: Turn) -> Finish | None:
    """The end, if this turn brought it."""
    return next((d for d in turn.decisions if isinstance(d, Finish)), None)


def _timer(timer: AnyTimer) -> Timer:
    return Timer(number=timer.number, due_us=timer.due_us, armed_us=timer.armed_us, seq=timer.seq)


def _problem(error: BaseException) -> Problem:
    if isinstance(error, Misuse):
        return Problem(kind="error", type="Misuse", text=str(error), effect="none")
    return problem_of(error)
