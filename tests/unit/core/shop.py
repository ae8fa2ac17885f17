"""What the tests of the core speak about: a small shop's contracts, and a driver that replays after every turn."""

from typing import Any

from orchestrator import Command, Event, Failure, Message
from orchestrator.core.blocked import Blocked
from orchestrator.core.decisions import Decision, Finish, Turn
from orchestrator.core.entries import (
    Entry,
    Json,
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
from orchestrator.core.replay import journal_body, replay
from orchestrator.core.saga_type import SagaType
from orchestrator.core.turn import Ignored, LiveSaga
from orchestrator.problems import Problem


class Charged(Message):
    charge: str


class Charge(Command[Charged], service="payments", name="ShopCharge"):
    amount: int


class Reserve(Command[None], service="stock", name="ShopReserve"):
    sku: str


class Print(Command[str], service="shipping", undo=False, name="ShopPrint"):
    order: str


class Declined(Failure, wire_name="ShopDeclined"):
    reason: str


class Paid(Message, name="ShopPaid"):
    reference: str


class Refused(Message, name="ShopRefused"):
    reason: str


class OrderPaid(Event, topic="orders", key="order", name="ShopOrderPaid"):
    order: str


LOST = Problem(kind="error", type="ReadTimeout", text="no answer from the gateway", effect="unknown")
BUSY = Problem(kind="transient", type="Transient", text="busy", effect="none")
LATER = Problem(kind="transient", type="Transient", text="breaker open", effect="none", retry_after_s=7.0)
NO = Problem(kind="failure", type="ShopDeclined", text="no", fields={"reason": "limit"}, effect="none")
SECOND = 1_000_000


class Driver:
    """Feeds one saga by hand. Every turn is replayed and compared (rule 18)."""

    def __init__(self, saga: SagaType[Any, Any], input: Json = None, *, parent_id: str | None = None) -> None:
        self.saga = saga
        self.identity = SagaIdentity("order-1", "uid-1", saga.name, saga.version, 0, parent_id=parent_id)
        self.live = LiveSaga(saga, self.identity)
        self.rows: list[list[Json]] = []
        self.now_us = 1_000 * SECOND
        self.all: list[Decision] = []
        self.started = self.feed(Started(at_us=self.now_us, input=input))

    def feed(self, entry: Entry) -> tuple[Decision, ...]:
        """The decisions of the turn. AssertionError if the entry is ignored. What is blocked is thrown out."""
        try:
            turn = self.live.feed(entry)
        except Blocked:
            self.live.evict()
            raise
        assert isinstance(turn, Turn), turn
        self.rows.append(journal_body(entry, turn))
        again = replay(self.saga, self.identity, self.rows)
        assert again.status == self.live.status
        assert again.timers() == self.live.timers()
        assert again.pending_sends() == self.live.pending_sends()
        assert again.pending_steps() == self.live.pending_steps()
        assert again.abandoned_steps() == self.live.abandoned_steps()
        again.evict()
        self.all.extend(turn.decisions)
        return turn.decisions

    def ignored(self, entry: Entry) -> str:
        """The reason. AssertionError if the entry counts."""
        before = (self.live.status, self.live.timers(), self.live.position)
        result = self.live.feed(entry)
        assert isinstance(result, Ignored), result
        assert before == (self.live.status, self.live.timers(), self.live.position)
        return result.reason

    def blocked(self, entry: Entry) -> str:
        """What it is blocked with."""
        try:
            result = self.live.feed(entry)
        except Blocked as error:
            self.live.evict()
            return str(error)
        raise AssertionError(f"not blocked: {result}")

    # ---- entries, at the current time

    def reply(self, seq: int, body: Json = None, *, attempt: int = 1) -> Replied:
        return Replied(at_us=self.now_us, seq=seq, attempt=attempt, outcome="succeeded", body=body)

    def failed(self, seq: int, problem: Problem = NO, *, attempt: int = 1) -> Replied:
        return Replied(at_us=self.now_us, seq=seq, attempt=attempt, outcome="failed", problem=problem)

    def retry(self, seq: int, problem: Problem = BUSY, *, attempt: int = 1) -> Replied:
        return Replied(at_us=self.now_us, seq=seq, attempt=attempt, outcome="retry", problem=problem)

    def step(self, seq: int, body: Json = None, *, attempt: int = 1) -> StepEnded:
        return StepEnded(at_us=self.now_us, seq=seq, attempt=attempt, outcome="succeeded", body=body)

    def raised(self, seq: int, problem: Problem, *, attempt: int = 1) -> StepEnded:
        return StepEnded(at_us=self.now_us, seq=seq, attempt=attempt, outcome="raised", problem=problem)

    def undone(
        self, seq: int, outcome: Any = "undone", *, attempt: int = 1, problem: Problem | None = None
    ) -> UndoReplied:
        return UndoReplied(at_us=self.now_us, seq=seq, attempt=attempt, outcome=outcome, problem=problem)

    def message(self, message: Message, *, id: str, channel: str = "") -> MessageArrived:
        return MessageArrived(
            at_us=self.now_us,
            message_id=id,
            type=type(message).__wire_name__,
            channel=channel,
            body=message.model_dump(mode="json"),
        )

    def verb(self, verb: Any, note: str = "") -> VerbGiven:
        return VerbGiven(at_us=self.now_us, verb=verb, note=note)

    def undo_request(self, *, attempt: int = 1) -> UndoRequested:
        return UndoRequested(at_us=self.now_us, key="parent:0:3", attempt=attempt, reply_to="sagas/0")

    def settle_request(self) -> SettleRequested:
        return SettleRequested(at_us=self.now_us, key="parent:0:3")

    def timer(self) -> TimerFired:
        """The next timer, when it is due."""
        timer = self.live.next_timer
        assert timer is not None, "no timer is set"
        self.now_us = max(self.now_us, timer.due_us)
        return TimerFired(at_us=self.now_us, timer=timer.number)

    @property
    def end(self) -> Finish:
        ends = [d for d in self.all if isinstance(d, Finish)]
        assert len(ends) == 1, f"{len(ends)} ends; it is {self.live.status}: {self.live.waiting_for}"
        return ends[0]


def ops(decisions: tuple[Decision, ...] | list[Decision]) -> list[str]:
    """Their short names, as in the journal; `status` and `finish` with theirs."""
    out = []
    for decision in decisions:
        data = decision.to_json()
        out.append(f"{data['op']} {data['name']}" if data["op"] in ("status", "finish") else data["op"])
    return out
