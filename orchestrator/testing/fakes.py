"""A participant for one command, in memory: an inbox row a key, as the real one (rule 8), without its database."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, cast

from orchestrator.contracts import Command, CommandType, reply_type
from orchestrator.core import values
from orchestrator.core.decisions import SendCommand, SendUndo
from orchestrator.core.entries import Json
from orchestrator.errors import Failure, Transient
from orchestrator.problems import Problem, problem_of

_C = TypeVar("_C")
_R = TypeVar("_R")


@dataclass
class _Row:
    """One key. `in_doubt`: an attempt ended and nobody knows how, so a later no is not definite (A5)."""

    state: Literal["open", "done", "failed", "closed"] = "open"
    in_doubt: bool = False
    reply: Json = None
    problem: Problem | None = None
    effect: Any = None  # the command, while what it did is not undone


@dataclass(frozen=True)
class Answer:
    """What goes back: `body` or `problem`; after this many seconds."""

    outcome: Literal["succeeded", "failed", "retry", "undone"]
    body: Json = None
    problem: Problem | None = None
    after_s: float = 0.0


@dataclass
class _Plan:
    kind: Literal["answer", "fail", "silence"]
    reply: Any = None
    error: Exception | None = None
    times: int | None = None
    after_s: float = 0.0
    took_effect: bool = False


class Fake(Generic[_C, _R]):
    """Say what it answers. Its undos are counted; a key that comes again gets the same answer."""

    def __init__(self, command: CommandType[_C, _R]) -> None:
        self.command = cast("type[Command[Any]]", command)
        self._rows: dict[str, _Row] = {}
        self._plans: list[_Plan] = []
        self._undo_plan: _Plan | None = None

    # ---- what a test arranges ---------------------------------------------------------------------------------------

    def answer(self, reply: _R | Callable[[_C], _R], /, *, after_s: float = 0.0) -> None:
        """From now on this, after `after_s` seconds; a function gets the command."""
        self._plans = [_Plan("answer", reply=reply, after_s=after_s)]

    def fail(self, error: Exception, /, *, times: int | None = None) -> None:
        """A Failure is a definite no; a Transient had no effect; anything else leaves the outcome unknown.

        `times` attempts, then what was arranged before.
        """
        before = self._plans if times is not None else []
        self._plans = [_Plan("fail", error=error, times=times), *before]

    def silence(self, *, took_effect: bool = False) -> None:
        """No answer; `took_effect=True` is the lost answer: what is arranged next says what a later attempt finds."""
        self._plans = [_Plan("silence", took_effect=took_effect)]

    def fail_undo(self, error: Exception, /, *, times: int | None = None) -> None:
        """The undo answers so: a Transient is tried again, anything else is a definite no, and the saga is stuck."""
        self._undo_plan = _Plan("fail", error=error, times=times)

    @property
    def effects(self) -> Sequence[_C]:
        """What took effect and was not undone."""
        return [row.effect for row in self._rows.values() if row.effect is not None]

    # ---- what the simulation delivers -------------------------------------------------------------------------------

    def handle(self, sent: SendCommand, key: str) -> Answer | None:
        """The answer to one attempt; None is silence."""
        row = self._rows.setdefault(key, _Row())
        plan = self._next_plan()
        if plan.kind == "silence":
            if plan.took_effect and row.state == "open":
                row.effect, row.in_doubt = self._decoded(sent.body), True
            return None
        if row.state == "closed":
            return None
        if row.state == "done":
            return Answer("succeeded", body=row.reply, after_s=plan.after_s)
        if row.state == "failed":
            return Answer("failed", problem=row.problem)
        return self._run(row, plan, sent)

    def _run(self, row: _Row, plan: _Plan, sent: SendCommand) -> Answer:
        command = self._decoded(sent.body)
        error = plan.error
        if plan.kind == "answer":
            try:
                reply = plan.reply(command) if callable(plan.reply) else plan.reply
                row.reply = values.to_json(reply_type(self.command), reply)
                row.state, row.effect = "done", command
                return Answer("succeeded", body=row.reply, after_s=plan.after_s)
            except (Failure, Transient) as raised:
                error = raised
        assert error is not None
        problem = problem_of(error)
        if isinstance(error, Failure):
            row.state = "failed"
            row.problem = problem if not row.in_doubt else _unknown(problem)
            return Answer("failed", problem=row.problem, after_s=plan.after_s)
        row.in_doubt = row.in_doubt or problem.effect == "unknown"
        return Answer("retry", problem=problem, after_s=plan.after_s)

    def undo(self, sent: SendUndo, key: str) -> Answer:
        """Take back what took effect; close the key for whatever still comes."""
        row = self._rows.setdefault(key, _Row())
        plan = self._undo_plan
        if plan is not None and plan.error is not None:
            if plan.times is not None:
                plan.times -= 1
                if plan.times <= 0:
                    self._undo_plan = None
            outcome: Literal["retry", "failed"] = "retry" if isinstance(plan.error, Transient) else "failed"
            return Answer(outcome, problem=problem_of(plan.error))
        row.state, row.effect = "closed", None
        return Answer("undone")

    def _next_plan(self) -> _Plan:
        if not self._plans:
            name = self.command.__name__
            raise AssertionError(f"nothing was arranged for {name}: sim.fake({name}).answer(…) before the saga starts")
        plan = self._plans[0]
        if plan.times is not None:
            plan.times -= 1
            if plan.times <= 0:
                self._plans.pop(0)
        return plan

    def _decoded(self, body: Json) -> Any:
        return values.decode(self.command, body)


def _unknown(problem: Problem) -> Problem:
    return Problem(kind=problem.kind, type=problem.type, text=problem.text, fields=problem.fields, effect="unknown")
