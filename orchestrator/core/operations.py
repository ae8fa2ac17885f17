"""Operations: what an `await s.…` opens, and what ends it.

An operation is numbered, decides what leaves, and has one future for whoever awaits it. Its outcome outlives that
waiting: a call that was cancelled or timed out is settled later, by `core.undo`.
"""

from dataclasses import replace
from typing import Any

from orchestrator.core.decisions import Decision
from orchestrator.core.entries import Json
from orchestrator.core.outcomes import MAY_HAVE_HAPPENED, State, after
from orchestrator.core.state import SagaState, Site
from orchestrator.core.tasks import PLACE, SagaFuture
from orchestrator.core.timers import RuntimeTimer
from orchestrator.core.undo import Place, Undo
from orchestrator.errors import Effect
from orchestrator.problems import Problem, exception_of
from orchestrator.retry import Retry

DEFAULT_RETRY = Retry()


class Operation:
    """One operation. `abandoned`: whoever awaited it went on without its result, so a success is nobody's."""

    __slots__ = ("abandoned", "future", "name", "place", "problem", "seq", "site", "st", "state", "timer", "undo")

    has_undo = False

    def __init__(self, st: SagaState, name: str) -> None:
        self.st = st
        self.seq = st.next_seq()
        self.name = name
        self.site: Site | None = st.site
        self.state: State = "open"
        self.abandoned = False
        self.future: SagaFuture = st.loop.create_future()
        self.place: Place = PLACE.get(st.root)
        self.problem: Problem | None = None
        self.undo: Undo | None = None
        self.timer: RuntimeTimer | None = None  # of its whole `timeout=`
        st.operations[self.seq] = self

    @property
    def label(self) -> str:
        """How people are told of it: in `left_undone`, in reasons."""
        return f"{self.name} #{self.seq}"

    def decide(self, decision: Decision) -> None:
        self.st.site = self.site
        self.st.decide(decision)

    # ---- how it ends ----------------------------------------------------------------------------------------------

    def value_of(self, body: Json) -> Any:
        """The result, decoded."""
        raise NotImplementedError

    def succeed(self, body: Json) -> None:
        """Hand the result to whoever waits. A late one is kept for the undo."""
        value = self.value_of(body)
        self.state = after(self.state, "succeeded")
        self.st.came_loose(self)
        self.drop_timers()
        if not self.future.done():
            self.future.set_result(value)
        self._forget_unless_undoable()

    def fail(self, problem: Problem, effect: Effect, attempts: int) -> None:
        """A definite no, or out of attempts. After the pivot a person decides, before saga code sees it."""
        if self.st.pivot_seq is None or self.future.done():
            self.end_badly(problem, effect, attempts)
            return
        self.state = after(self.state, "failed" if effect == "none" else "lost")
        self.problem = replace(problem, effect=effect)
        self.drop_timers()
        if self in self.st.stuck:
            return  # A late answer took a doubt away; the person's word is still wanted.
        self.st.site = self.site
        self.st.stick(self, f"{self.label} failed after the pivot: {problem.type}: {problem.text}", self.problem)

    def end_badly(self, problem: Problem, effect: Effect, attempts: int) -> None:
        """Raise at the await; `effect` "none" says that there is nothing to undo."""
        self.state = after(self.state, "failed" if effect == "none" else "lost")
        self.problem = replace(problem, effect=effect)
        self.drop_timers()
        self._raise_at_the_await(attempts)

    def _raise_at_the_await(self, attempts: int) -> None:
        assert self.problem is not None
        self.abandoned = True
        if not self.future.done():
            error = exception_of(self.problem, operation_key=self.st.identity.key(self.seq), attempts=attempts)
            self.future.set_exception(error)
        self._forget_unless_undoable()

    def abandon(self) -> None:
        """Whoever waited was cancelled. Without a result taken, the outcome is nobody's: settled before the end."""
        self.abandoned = True
        self.st.came_loose(self)
        if self.state == "open":
            self.state = after(self.state, "lost")
            self.drop_timers()
        self._forget_unless_undoable()

    def drop_timers(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _forget_unless_undoable(self) -> None:
        if self.state == "failed" or not self.has_undo:
            self.st.operations.pop(self.seq, None)

    # ---- a person's word after the pivot (core.stuck) --------------------------------------------------------------

    def why_not(self, verb: str) -> str | None:
        return None

    def retry(self) -> None:
        """Again, with its whole budget: under its own key if an attempt may have had an effect, else under a new one.

        The inbox has stored a definite no under the old key and would only repeat it. A new key can double nothing,
        for the old one is known to have had no effect.
        """
        assert self.problem is not None
        if self.problem.effect == "none":
            self.st.operations.pop(self.seq, None)
            self.seq = self.st.internal_seq()
        self.state = after(self.state, "again")
        self.st.operations[self.seq] = self
        self.try_again()

    def try_again(self) -> None:
        raise NotImplementedError

    def skip(self, note: str) -> None:
        """Go on without it: the await raises what happened."""
        self._raise_at_the_await(0)
        self._forget_unless_undoable()

    # ---- taking back ----------------------------------------------------------------------------------------------

    def has_effect_to_undo(self) -> bool:
        """It may have had an effect, it can be taken back (or is being), and nobody said that it stays."""
        return self.has_undo and self.state in MAY_HAVE_HAPPENED and not self.place.is_kept()

    def is_unsettled(self) -> bool:
        """Nobody has taken its result, and it may have happened (rule 6)."""
        return self.has_effect_to_undo() and (self.abandoned or self.state in ("open", "unknown"))

    def is_before_the_pivot(self) -> bool:
        return self.st.pivot_seq is not None and self.seq < self.st.pivot_seq

    def make_undo(self) -> Undo:
        raise NotImplementedError

    def take_back(self) -> SagaFuture:
        """Undo it once, however often this is asked; the future is done when it is undone, or given up."""
        if self.undo is None:
            if self.state == "open":
                self.abandon()
                self.future.cancel()
            self.undo = self.make_undo()
            self.undo.begin()
        return self.undo.done


class Attempts:
    """How often something was tried: the number on the wire rises with every send, `burnt` with those that count."""

    __slots__ = ("burnt", "in_doubt", "in_flight", "number", "policy")

    def __init__(self, policy: Retry | None) -> None:
        self.policy = policy or DEFAULT_RETRY
        self.number = 0
        self.burnt = 0
        self.in_flight = False
        self.in_doubt = False  # an attempt ended and nobody knows how

    def begin(self) -> int:
        self.number += 1
        self.in_flight = True
        return self.number

    def end(self, problem: Problem) -> None:
        """An attempt ended without a result. A `retry_after_s` says that it was not even begun: it burns none."""
        self.in_flight = False
        if problem.effect == "unknown":
            self.in_doubt = True
        if problem.retry_after_s is None:
            self.burnt += 1

    def are_used_up(self) -> bool:
        return self.burnt >= self.policy.max_attempts

    def delay_s(self, problem: Problem, jitter: float) -> float:
        if problem.retry_after_s is not None:
            return problem.retry_after_s
        return self.policy.delay_s(self.burnt, jitter)

    @property
    def effect(self) -> Effect:
        return "unknown" if self.in_doubt else "none"
