"""How a saga ends: what is open is settled, what must be is undone, only then it is finished (rules 4, 6, 10, 11)."""

import asyncio
import re
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.core import values
from orchestrator.core.blocked import author_line
from orchestrator.core.calls import Child
from orchestrator.core.decisions import AnswerUndo, Finish, SetStatus, Settle, SettleChild
from orchestrator.core.entries import Json, UndoRequested
from orchestrator.core.lifecycle import TERMINAL, Happening
from orchestrator.core.saga_type import SagaType
from orchestrator.core.state import SagaState, file_and_line
from orchestrator.core.undo import cancel_and_wait, take_back
from orchestrator.errors import PayloadError
from orchestrator.problems import Problem, problem_of

_HAPPENINGS: dict[str, Happening] = {
    "completed": "complete",
    "failed": "fail",
    "cancelled": "cancel",
    "terminated": "terminate",
}
_TAKEN_BACK = Problem(kind="error", type="TakenBack", text="its parent took it back", effect="none")
_ANOTHER_LOOP = "attached to a different loop"  # asyncio's words; what else they hold differs from run to run
UNDONE_BEFORE_IT_BEGAN = Problem(kind="error", type="Cancelled", text="before it began", effect="none")


class Ending:
    """Of one saga. `main` is the task of its function; `request` the parent's wish to take it back; `let_go` its word
    that it never will.
    """

    __slots__ = ("let_go", "main", "problem", "request", "saga_type", "st")

    def __init__(self, st: SagaState, saga_type: SagaType[Any, Any]) -> None:
        self.st = st
        self.saga_type = saga_type
        self.main: asyncio.Task[Any] | None = None
        self.problem: Problem | None = None
        self.request: UndoRequested | None = None
        self.let_go = False

    # ---- the function has ended -------------------------------------------------------------------------------------

    def function_ended(self, main: asyncio.Task[Any]) -> None:
        if not self.st.loop.evicted:
            self.st.site = None
            self.st.loop.system_task(self._guarded(self._end(main)))

    async def _guarded(self, coroutine: Any) -> None:
        # An error in here is a bug of ours: the saga is blocked, not silently parked for ever.
        try:
            await coroutine
        except Exception as error:
            self.st.loop.broken = self.st.loop.broken or error

    async def _end(self, main: asyncio.Task[Any]) -> None:
        await self._stop_the_rest()
        result, self.problem = self._outcome(main)
        if self.problem is None:
            self._refuse_forgotten_awaits()
            await take_back([op for op in self.st.undoable() if op.is_unsettled() or op.state == "undoing"])
            self._finish("completed", result=result)
        elif self.st.pivot_seq is not None:
            reason = f"after the pivot the function raised {_short(self.problem)}"
            self.st.stick(FunctionRaised(self.problem), reason, self.problem)
        else:
            await self._compensate(self.problem)
            self._finish("cancelled" if main.cancelled() else "failed", problem=self.problem)

    async def _stop_the_rest(self) -> None:
        """Tasks that nobody waited for: gather's siblings, race losers. Their `finally` blocks run, durably."""
        while live := self.st.loop.live_tasks():
            await cancel_and_wait(live)
        for generator in reversed(self.st.loop.generators):
            await generator.aclose()

    def _outcome(self, main: asyncio.Task[Any]) -> tuple[Json, Problem | None]:
        if main.cancelled():
            return None, Problem(kind="error", type="CancelledError", text="the saga was cancelled", effect="none")
        error = main.exception()
        # The error of a task that nobody looked at is a failure of the saga, not a line in a log.
        for overlooked in () if error is not None else self.st.loop.unretrieved():
            error = overlooked
            break
        if error is None:
            try:
                return values.to_json(self.saga_type.result_type, main.result()), None
            except PayloadError as unkept:
                error = unkept
        if isinstance(error, RuntimeError) and _ANOTHER_LOOP in str(error):
            raise self.st.loop.misuse(
                f"{_raised_at(error)}: this future belongs to another event loop, which a replay can't have: "
                "await it in a step, s.step(function, …)"
            )
        return None, _repeatable(problem_of(_single(error)))

    def _refuse_forgotten_awaits(self) -> None:
        for unbegun in self.st.unbegun.values():
            if unbegun.coroutine.cr_frame is not None:  # type: ignore[attr-defined]  # a real coroutine
                raise self.st.loop.misuse(f"{file_and_line(unbegun.site)}: {unbegun.what} was never awaited")

    async def _compensate(self, problem: Problem) -> None:
        operations = list(self.st.undoable())
        if operations:
            self.st.move("compensate")
            self.st.decide(SetStatus(status="compensating", reason=_short(problem)))
            await take_back(operations)

    # ---- the end ----------------------------------------------------------------------------------------------------

    def _finish(self, status: Any, *, result: Json = None, problem: Problem | None = None) -> None:
        st = self.st
        st.site = None
        st.move(_HAPPENINGS[status])
        rest = {op.seq: op.label for op in st.undoable()} if status in ("failed", "cancelled", "terminated") else {}
        left = (*st.left, *rest.values())
        if not self._may_be_taken_back():
            self._settle(set(rest))
        if problem is not None:
            problem = _as_end_of_a_saga(problem, st.identity.id, status, left)
        st.decide(Finish(status=status, result=result, problem=problem, left_undone=left))
        for unbegun in st.unbegun.values():
            unbegun.coroutine.close()
        st.unbegun.clear()
        self._answer(left)

    def _settle(self, unsettled: set[int]) -> None:
        """Participants and children need to remember nothing of this saga any more."""
        for service, seqs in self.st.services.items():
            settled = tuple(seq for seq in seqs if seq not in unsettled and seq not in self.st.left_seqs)
            if settled:
                self.st.decide(Settle(service=service, seqs=settled))
        self.st.services = {}
        for seq, child in sorted(self.st.operations.items()):
            if isinstance(child, Child) and seq not in unsettled:
                self.st.decide(SettleChild(seq=seq, id=child.child_id))

    def _may_be_taken_back(self) -> bool:
        """A completed child's undo stack lives until its root is terminal."""
        st = self.st
        return (
            st.status == "completed" and st.identity.parent_id is not None and st.pivot_seq is None and not self.let_go
        )

    # ---- verbs ------------------------------------------------------------------------------------------------------

    def cancel(self) -> str | None:
        """None, or why not."""
        st = self.st
        if self.main is None:
            self._finish("cancelled", problem=UNDONE_BEFORE_IT_BEGAN)
            return None
        if st.pivot_seq is not None:
            return "the saga is past its pivot: it only goes forward"
        if self.main.done() or st.cancelling:
            return "the saga is ending already"
        st.cancelling = True
        self.main.cancel()
        return None

    def terminate(self, note: str) -> None:
        """Stop, without undos."""
        self._stop("terminated", terminated(note))

    def give_up(self, note: str) -> None:
        """The verb `fail` for a saga that is stuck: it ends as it is, and lists what stays."""
        why = self.problem
        if why is None:
            why = next((item.problem for item in self.st.stuck if isinstance(item.problem, Problem)), None)
        why = why or Problem(kind="error", type="GivenUp", text="" if note else "by hand", effect="unknown")
        if note:
            why = replace(why, text=f"{why.text} (given up: {note})" if why.text else note)
        self._stop("failed", why)

    def _stop(self, status: Any, problem: Problem) -> None:
        self.st.stuck.clear()
        self._finish(status, problem=problem)
        self.st.operations.clear()
        self.st.steps.clear()
        self.st.loop.clear()

    # ---- being a child ----------------------------------------------------------------------------------------------

    def undo_requested(self, request: UndoRequested) -> str | None:
        """The parent takes this saga back. None, or why the request is ignored."""
        st = self.st
        if self.request is not None and st.status not in TERMINAL:
            return "its undo is under way"
        self.request = request
        if self.main is None and st.status == "queued":
            self._finish("cancelled", problem=UNDONE_BEFORE_IT_BEGAN)
        elif st.pivot_seq is not None:
            self._refuse("it is past its pivot")
        elif st.status == "completed":
            self._take_back_completed()
        elif st.status in TERMINAL:
            self._answer(st.left_at_the_end)
        elif self.main is not None and not self.main.done() and not st.cancelling:
            st.cancelling = True
            self.main.cancel()
        return None

    def settle_requested(self) -> str | None:
        """The parent never takes this saga back. None, or why that changes nothing."""
        st = self.st
        if self.let_go:
            return "it was let go before"
        if st.status in TERMINAL and not self._may_be_taken_back():
            return "it was settled when it ended"
        self.let_go = True
        if st.status == "completed":
            self._settle(set())
        return None

    def _take_back_completed(self) -> None:
        self.st.move("take_back")
        self.st.decide(SetStatus(status="compensating", reason=_TAKEN_BACK.text))
        self.problem = _TAKEN_BACK
        self.st.loop.system_task(self._guarded(self._take_back()))

    async def _take_back(self) -> None:
        await take_back(list(self.st.undoable()))
        self._finish("cancelled", problem=_TAKEN_BACK)

    def _answer(self, left: tuple[str, ...]) -> None:
        st = self.st
        st.left_at_the_end = left
        if self.request is None:
            return
        if st.status == "completed":
            # It was asked while it was ending well, or its code would not be cancelled.
            if st.pivot_seq is None:
                self._take_back_completed()
            else:
                self._refuse("it is past its pivot")
        elif left:
            self._refuse(f"these were left: {', '.join(left)}")
        else:
            self._reply("undone", None)

    def _refuse(self, why: str) -> None:
        text = f"child {self.st.identity.id} can't be taken back: {why}"
        self._reply("failed", Problem(kind="error", type="ChildNotUndone", text=text, effect="unknown"))

    def _reply(self, outcome: Any, problem: Problem | None) -> None:
        request, self.request = self.request, None
        assert request is not None
        self.st.decide(
            AnswerUndo(
                key=request.key, attempt=request.attempt, reply_to=request.reply_to, outcome=outcome, problem=problem
            )
        )


def terminated(note: str) -> Problem:
    """Why a saga was stopped: somebody said so."""
    return Problem(kind="error", type="Terminated", text=note or "by hand", effect="unknown")


@dataclass(frozen=True, slots=True)
class FunctionRaised:
    """Past the pivot nothing is taken back, and a function that has ended can't be run again: a person ends it."""

    problem: Problem | None

    def why_not(self, verb: str) -> str | None:
        what = _short(self.problem) if self.problem is not None else "an error"
        return f"the function has ended with {what}, so there is nothing to {verb}: only `fail` is left"

    def retry(self) -> None:
        """Never: see why_not."""

    def skip(self, note: str) -> None:
        """Never: see why_not."""


def _repeatable(problem: Problem) -> Problem:
    """Texts of errors like to show addresses, which a replay would take for a change of the code."""
    return replace(problem, text=re.sub(r"\b0x[0-9a-fA-F]{4,}\b", "0x…", problem.text))


def _short(problem: Problem) -> str:
    return f"{problem.type}: {problem.text}" if problem.text else problem.type


def _single(error: BaseException) -> BaseException:
    """A TaskGroup wraps what its tasks raised: one error alone speaks for itself, a Failure stays a Failure."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _as_end_of_a_saga(problem: Problem, saga_id: str, status: str, left: tuple[str, ...]) -> Problem:
    """What parent and client meet: a Failure as itself, if all was taken back; everything else as SagaFailed."""
    effect: Any = "unknown" if left else "none"
    if problem.kind == "failure" and status == "failed":
        return replace(problem, effect=effect, left_undone=left)
    return replace(problem, kind="saga", saga_id=saga_id, status=status, effect=effect, left_undone=left, bases=())


def _raised_at(error: BaseException) -> str:
    """`file:line` of the saga's code, the innermost that is in the traceback."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return "the saga" if place is None else author_line(place.tb_frame)
