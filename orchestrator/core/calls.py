"""Calls to participants, and child sagas: operations whose answer comes as `Replied`."""

from typing import Any

from orchestrator import limits
from orchestrator.contracts import Command, reply_type
from orchestrator.core import values
from orchestrator.core.blocked import Blocked, blocked
from orchestrator.core.decisions import Decision, Known, SendCommand, SendUndo, StartChild, UndoChild
from orchestrator.core.entries import Json, Replied
from orchestrator.core.operations import Attempts, Operation
from orchestrator.core.outcomes import reply_counts
from orchestrator.core.saga_type import SagaType
from orchestrator.core.state import SagaState
from orchestrator.core.timers import RuntimeTimer
from orchestrator.core.undo import Undo
from orchestrator.problems import Problem
from orchestrator.retry import Retry

_SILENCE = Problem(kind="timeout", type="TimedOut", text="no answer in time", effect="unknown")


class Call(Operation):
    """Ask a participant. Its undo is ready before the command leaves: it is this object."""

    __slots__ = (
        "again",
        "again_timer",
        "answered",
        "attempt_timer",
        "attempts",
        "body",
        "command",
        "has_undo",
        "reply",
        "sent_at_us",
    )

    def __init__(self, st: SagaState, command: Command[Any], retry: Retry | None, timeout_s: float | None) -> None:
        cls = type(command)
        body = values.message_json(command)  # before anything is opened: a PayloadError leaves no trace
        super().__init__(st, cls.__wire_name__)
        self.command = cls
        self.has_undo = cls.__undo__
        self.body = body
        self.reply: Json = None
        self.answered = False
        self.attempts = Attempts(retry)
        self.attempt_timer: RuntimeTimer | None = None
        self.again = 0  # copies of this attempt that were sent, for want of an answer
        self.again_timer: RuntimeTimer | None = None
        self.sent_at_us = st.now_us
        st.services.setdefault(cls.__service__, []).append(self.seq)
        if timeout_s is not None:
            self.timer = st.arm(timeout_s, self._timed_out, seq=self.seq)
        self._send()

    def _send(self) -> None:
        self.attempts.begin()
        self.again = 0
        self.decide(self.command_decision())
        if (limit_s := self.attempts.policy.attempt_timeout_s) is not None:
            self.attempt_timer = self.st.arm(limit_s, self._attempt_timed_out, seq=self.seq)
        self._arm_again()

    def _arm_again(self) -> None:
        """If its reply is lost, the participant says it again when the same attempt comes once more (rule 13)."""
        delay_s = min(limits.RESEND_FIRST_S * 2**self.again, limits.RESEND_MAX_S)
        limit_s = self.attempts.policy.attempt_timeout_s
        if limit_s is not None and limit_s <= delay_s:
            return  # The next attempt comes first, under the same key.
        if self.timer is not None and self.timer.due_us <= self.st.now_us + round(delay_s * 1e6):
            return  # Nobody waits so long.
        last_us = self.st.now_us + round((delay_s + limits.COMMAND_EXPIRES_S) * 1e6)
        if last_us > self.sent_at_us + round(limits.INBOX_HORIZON_S * 1e6):
            return  # The participant may have forgotten that it did it: a copy could do it again.
        self.again_timer = self.st.arm(delay_s, self._send_again, seq=self.seq)

    def _send_again(self) -> None:
        self.again += 1
        self.decide(self.command_decision())
        self._arm_again()

    def command_decision(self) -> SendCommand:
        return SendCommand(
            seq=self.seq,
            attempt=self.attempts.number,
            service=self.command.__service__,
            type=self.name,
            body=self.body,
            undo=self.has_undo,
            again=self.again,
        )

    def pending_send(self) -> Decision | None:
        """What to send again when it may be lost."""
        if self.undo is not None:
            return self.undo.decision() if self.undo.in_flight else None
        return self.command_decision() if self.state == "open" and self.attempts.in_flight else None

    # ---- answers --------------------------------------------------------------------------------------------------

    def reply_counts(self, entry: Replied) -> str | None:
        """None, or why this reply is none (rule 2)."""
        if self.answered:
            return f"a late `{entry.outcome}`: the operation has been answered"
        attempts = self.attempts
        if self.state == "unknown" and (self.place.is_kept() or (entry.outcome == "failed" and attempts.in_doubt)):
            return f"a late `{entry.outcome}` that changes nothing"
        return reply_counts(
            self.state,
            "failed" if entry.outcome == "conflict" else entry.outcome,
            attempt=entry.attempt,
            sent=attempts.number,
            in_flight=attempts.in_flight,
        )

    def replied(self, entry: Replied) -> None:
        if entry.outcome == "conflict":
            raise self._conflict(entry.problem)
        if entry.outcome == "succeeded":
            self.answered = True
            self.reply = entry.body
            self.attempts.in_flight = False
            self.succeed(entry.body)
            return
        problem = entry.problem or Problem(kind="error", type="NoProblem", text="the reply gave no reason")
        self.attempts.end(problem)
        if entry.outcome == "failed" or self.attempts.are_used_up():
            self.fail(problem, self.attempts.effect, self.attempts.number)
        else:
            self._send_later(problem)

    def _conflict(self, problem: Problem | None) -> Blocked:
        """The participant has another command under this key, so the saga and it remember different histories."""
        identity, said = self.st.identity, problem.text if problem is not None else ""
        return blocked(
            "Conflict",
            f"operation {identity.key(self.seq)}: {self.command.__service__} has another command under this key. Was "
            f"the code changed under a running saga, or a backup restored? {said} Compare `amends show {identity.id}` "
            f"with the participant's inbox; `amends unblock {identity.id}` asks it again",
        )

    def value_of(self, body: Json) -> Any:
        return values.decode(reply_type(self.command), body)

    def _send_later(self, problem: Problem) -> None:
        self._drop_attempt_timer()
        delay_s = self.attempts.delay_s(problem, self.st.jitter(self.seq, self.attempts.number))
        self.attempt_timer = self.st.arm(delay_s, self._send)

    def _drop_attempt_timer(self) -> None:
        if self.attempt_timer is not None:
            self.attempt_timer.cancel()
            self.attempt_timer = None
        if self.again_timer is not None:
            self.again_timer.cancel()
            self.again_timer = None

    def drop_timers(self) -> None:
        super().drop_timers()
        self._drop_attempt_timer()

    def _attempt_timed_out(self) -> None:
        self.attempts.end(_SILENCE)
        if self.attempts.are_used_up():
            self.fail(_SILENCE, "unknown", self.attempts.number)
        else:
            self._send_later(_SILENCE)

    def _timed_out(self) -> None:
        # Between two attempts, when each has said that it had no effect, there is nothing in doubt.
        effect = "unknown" if self.attempts.in_flight else self.attempts.effect
        self.end_badly(_SILENCE, effect, self.attempts.number)

    def try_again(self) -> None:
        """After the pivot, by a person's word."""
        if self.problem is not None and self.problem.effect == "none":
            self.attempts = Attempts(self.attempts.policy)
            self.st.services[self.command.__service__].append(self.seq)
        self.attempts.burnt = 0
        self._send()

    # ---- undo -----------------------------------------------------------------------------------------------------

    def make_undo(self) -> Undo:
        return UndoOfCall(self)


class UndoOfCall(Undo):
    __slots__ = ()

    def decision(self) -> SendUndo:
        call = self.of
        assert isinstance(call, Call)
        known: Known = "done" if call.answered else "unknown"
        return SendUndo(
            seq=call.seq,
            attempt=self.attempt,
            service=call.command.__service__,
            type=call.name,
            body=call.body,
            known=known,
            reply=call.reply,
            reply_attempts=call.attempts.number,
            sent_at_us=call.sent_at_us,
        )


class Child(Operation):
    """A child saga. It fails after it has made its amends, so its failure is definite; it is undone by a message."""

    __slots__ = ("child", "child_id", "given_id", "input", "retries")

    has_undo = True

    def __init__(
        self, st: SagaState, child: SagaType[Any, Any], input: Any, id: str | None, timeout_s: float | None
    ) -> None:
        body = values.to_json(child.input_type, input)
        super().__init__(st, child.name)
        self.child = child
        self.input = body
        self.given_id = id
        self.retries = 0
        self.child_id = id or st.identity.key(self.seq)
        if timeout_s is not None:
            self.timer = st.arm(timeout_s, self._timed_out)
        self.decide(self.start_decision())

    def start_decision(self) -> StartChild:
        return StartChild(
            seq=self.seq,
            type=self.child.name,
            version=self.child.version,
            id=self.child_id,
            input=self.input,
            saga=self.child,
        )

    def pending_send(self) -> Decision | None:
        if self.undo is not None:
            return self.undo.decision() if self.undo.in_flight else None
        return self.start_decision() if self.state == "open" else None

    def reply_counts(self, entry: Replied) -> str | None:
        if self.state == "undoing":
            return "the end of a child that is being undone"
        if entry.outcome == "conflict":
            return "a child has no key to be in conflict with"
        return reply_counts(self.state, entry.outcome, attempt=1, sent=1, in_flight=False)

    def replied(self, entry: Replied) -> None:
        if entry.outcome == "succeeded":
            self.succeed(entry.body)
            return
        problem = entry.problem or Problem(kind="error", type="NoProblem", text="the child gave no reason")
        self.st.left.extend(f"{self.label}: {what}" for what in problem.left_undone)
        self.fail(problem, "none", 1)

    def value_of(self, body: Json) -> Any:
        return values.decode(self.child.result_type, body)

    def _timed_out(self) -> None:
        self.end_badly(_SILENCE, "unknown", 1)

    def try_again(self) -> None:
        # The old child has ended under its id: another run of it needs another one.
        self.retries += 1
        self.child_id = f"{self.given_id}-retry{self.retries}" if self.given_id else self.st.identity.key(self.seq)
        self.decide(self.start_decision())

    def make_undo(self) -> Undo:
        return UndoOfChild(self)


class UndoOfChild(Undo):
    __slots__ = ()

    def decision(self) -> UndoChild:
        child = self.of
        assert isinstance(child, Child)
        return UndoChild(seq=child.seq, attempt=self.attempt, id=child.child_id, type=child.name)
