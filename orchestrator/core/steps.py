"""Local steps and transactions: operations whose end comes as `StepEnded` (rules 21, 22)."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

from orchestrator.core import values
from orchestrator.core.blocked import author_line
from orchestrator.core.decisions import StartStep
from orchestrator.core.entries import Json, StepEnded
from orchestrator.core.operations import Attempts, Operation
from orchestrator.core.outcomes import after, reply_counts
from orchestrator.core.state import SagaState
from orchestrator.core.timers import RuntimeTimer
from orchestrator.core.undo import Undo, UndoOfStep
from orchestrator.problems import Problem, class_path
from orchestrator.retry import Retry

Kind = Literal["step", "transaction"]
_IMMUTABLE = frozenset((str, int, bool, type(None)))
_SILENCE = Problem(kind="timeout", type="TimedOut", text="the step did not end in time", effect="unknown")

# What the engine reports after it has loaded a saga, for `LiveSaga.abandoned_steps`: nobody will hear of them again.
STEP_LOST = Problem(kind="error", type="StepLost", text="the process that ran it is gone", effect="unknown")


class Step(Operation):
    """Run a function of this process. Its arguments are kept encoded: the function gets copies, each time."""

    __slots__ = (
        "arguments",
        "attempts",
        "database",
        "function",
        "has_undo",
        "kind",
        "retry_timer",
        "signature",
        "undo_function",
    )

    def __init__(
        self,
        st: SagaState,
        kind: Kind,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        undo: Callable[..., Any] | None,
        retry: Retry | None,
        timeout_s: float | None,
        database: str = "default",
    ) -> None:
        self.signature = _checked_signature(st, function)
        self.kind: Kind = kind
        if not _IMMUTABLE.issuperset(map(type, arguments)):
            arguments = tuple(self._encoded(position, value) for position, value in enumerate(arguments))
        super().__init__(st, getattr(function, "__qualname__", type(function).__name__))
        self.function = function
        self.arguments = arguments
        self.undo_function = undo
        self.has_undo = undo is not None
        self.database = database
        self.attempts = Attempts(retry)
        self.retry_timer: RuntimeTimer | None = None
        if timeout_s is not None:
            self.timer = st.arm(timeout_s, self._timed_out)
        self._start()

    def _start(self) -> None:
        self.retry_timer = None
        self.attempts.begin()
        self.st.steps[self.seq] = self
        self.decide(self.start_decision())

    def start_decision(self) -> StartStep:
        return StartStep(
            seq=self.seq,
            attempt=self.attempts.number,
            name=self.name,
            kind=self.kind,
            function=self.function,
            args=self.decoded_arguments(),
            timeout_s=self.attempts.policy.attempt_timeout_s,
            database=self.database,
        )

    def pending_step(self) -> StartStep | None:
        """What to start again after a load: somebody waits for it."""
        return self.start_decision() if self.is_pending() else None

    def is_pending(self) -> bool:
        """An attempt runs, and somebody waits for it."""
        return self.attempts.in_flight and self.state == "open"

    def is_abandoned(self) -> bool:
        """An attempt runs, nobody waits for its result, but the undo must wait for its end."""
        return self.attempts.in_flight and (self.state == "undoing" or self.is_unsettled()) and self.state != "open"

    # ---- its end --------------------------------------------------------------------------------------------------

    def ended_counts(self, entry: StepEnded) -> str | None:
        """None, or why this end is none."""
        if entry.attempt != self.attempts.number or not self.attempts.in_flight:
            return "the end of an earlier attempt of a step"
        if self.state == "undoing":
            return None  # the undo waits for just this
        if self.state != "open" and not self.has_effect_to_undo():
            return "the end of a step that nobody waits for"
        reply: Literal["succeeded", "failed", "retry"] = "succeeded" if entry.outcome == "succeeded" else "failed"
        return reply_counts(self.state, reply, attempt=entry.attempt, sent=entry.attempt, in_flight=True)

    def ended(self, entry: StepEnded) -> None:
        if entry.outcome == "succeeded":
            self.attempts.in_flight = False
            if isinstance(self.undo, UndoOfStep):
                self.undo.step_ended(had_effect=True)
            else:
                self.succeed(entry.body)
        else:
            self._raised(self._classified(entry.problem))
        if not self.attempts.in_flight:
            self.st.steps.pop(self.seq, None)

    def _classified(self, problem: Problem | None) -> Problem:
        problem = problem or Problem(kind="error", type="NoProblem", text="the step gave no reason")
        # A transaction that raised was rolled back.
        return replace(problem, effect="none") if self.kind == "transaction" else problem

    def _raised(self, problem: Problem) -> None:
        self.attempts.end(problem)
        if isinstance(self.undo, UndoOfStep):
            self.undo.step_ended(had_effect=self.attempts.in_doubt)
        elif self.state == "unknown":
            if not self.attempts.in_doubt:
                self.state = after(self.state, "failed")
                self._forget_unless_undoable()
        elif self._is_worth_another(problem) and not self.attempts.are_used_up():
            delay_s = self.attempts.delay_s(problem, self.st.jitter(self.seq, self.attempts.number))
            self.retry_timer = self.st.arm(delay_s, self._start)
        else:
            self.fail(problem, self.attempts.effect, self.attempts.number)

    def _is_worth_another(self, problem: Problem) -> bool:
        if problem.kind in ("transient", "timeout"):
            return True
        wanted = self.attempts.policy.on
        if problem.kind == "failure":
            return False
        return Exception in wanted or any(class_path(cls) in problem.bases for cls in wanted)

    def value_of(self, body: Json) -> Any:
        return values.decode(self.signature.result, body)

    def drop_timers(self) -> None:
        super().drop_timers()
        if self.retry_timer is not None:
            self.retry_timer.cancel()
            self.retry_timer = None

    def _timed_out(self) -> None:
        """Nobody waits any more; an attempt that runs is let run, and its end decides whether there is what to undo."""
        effect = "unknown" if self.attempts.in_flight else self.attempts.effect
        if self.kind == "transaction" and not self.attempts.in_flight:
            effect = "none"
        self.end_badly(_SILENCE, effect, self.attempts.number)

    def try_again(self) -> None:
        if self.problem is not None and self.problem.effect == "none":
            self.attempts = Attempts(self.attempts.policy)
        self.attempts.burnt = 0
        self._start()

    def make_undo(self) -> Undo:
        return UndoOfThisStep(self)

    # ---- arguments ------------------------------------------------------------------------------------------------

    def _position(self, position: int) -> int:
        return position + 1 if self.kind == "transaction" else position  # its first parameter is the connection

    def _encoded(self, position: int, value: Any) -> Any:
        if type(value) in _IMMUTABLE:
            return value
        return (self.signature.type_of(self._position(position), value), self._bytes_of(position, value))

    def _bytes_of(self, position: int, value: Any) -> bytes:
        tp = self.signature.type_of(self._position(position), value)
        data = values.encode(tp, value)
        values.decode_bytes(tp, data)
        return data

    def decoded_arguments(self) -> tuple[Any, ...]:
        if tuple not in map(type, self.arguments):
            return self.arguments
        return tuple(values.decode_bytes(*kept) if isinstance(kept, tuple) else kept for kept in self.arguments)


class UndoOfThisStep(UndoOfStep):
    """The undo gets the step's own arguments: it has to work when there is no result."""

    __slots__ = ()

    def step_is_running(self) -> bool:
        step = self.of
        assert isinstance(step, Step)
        return step.attempts.in_flight

    def decision(self) -> StartStep:
        step = self.of
        assert isinstance(step, Step)
        assert step.undo_function is not None
        return StartStep(
            seq=self.seq,
            attempt=self.attempt,
            name=getattr(step.undo_function, "__qualname__", type(step.undo_function).__name__),
            kind=step.kind,
            function=step.undo_function,
            args=step.decoded_arguments(),
            database=step.database,
            undo_of=step.seq,
        )


def _checked_signature(st: SagaState, function: Callable[..., Any]) -> values.Signature:
    signature = values.signature(function)
    if signature.result is inspect.Signature.empty:
        name = getattr(function, "__qualname__", repr(function))
        raise st.loop.misuse(
            f"{author_line()}: the result of {name} is kept in the journal, so its type must be known: "
            f"def {getattr(function, '__name__', name)}(...) -> …:"
        )
    return signature
