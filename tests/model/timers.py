"""M4: one call with a timeout, and outages. Does a timer ever fire for a command that could not be answered in time?

Time is a small counter of seconds. The command waits in the outbox until the relay sends it; the participant answers at
once when it reads; its reply lies in the partition until the shard is read. Relay and orchestrator may stand still.

The orchestrator is the product's: `Patience.due` with real `Wakeups` and `Watermarks`, put together from the state for
each step and taken apart again. Only what it asks Postgres is told here.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import cache
from typing import Any, NamedTuple
from unittest.mock import patch
from uuid import UUID

from orchestrator import limits
from orchestrator.core.decisions import Timer
from orchestrator.engine import patience as patience_module
from orchestrator.engine import watermarks as watermarks_module
from orchestrator.engine.departures import Departures, _Lag
from orchestrator.engine.fence import Hold
from orchestrator.engine.patience import Patience
from orchestrator.engine.wakeups import Wakeup, Wakeups
from orchestrator.engine.watermarks import Watermarks
from tests.model.explorer import Machine, Step
from tests.model.rules import Subject, rule

SECOND = 1_000_000
TIMEOUT_S = 3
LOOKS_S = 1  # the orchestrator looks at the outbox once a second here: what it knows of an ack is that old
HEALTHY_S = 2  # in place of limits.OUTBOX_HEALTHY_S, so that time need not go far
TIME_MAX_S = 2 * TIMEOUT_S + 2
TIMER = Timer(number=1, due_us=TIMEOUT_S * SECOND, armed_us=0, seq=0)

RULES = {
    "watermark": rule("9: a due timer enters a batch only after the shard was read up to an end offset"),
    "watermark_after_due": rule("9: ... that was observed after the timer fell due"),
    "row_in_outbox_not_sent": rule(
        "9: a command whose row is still in the outbox has not been sent: extend, burn no attempt",
        and_without={"healthy_outbox", "from_the_ack"},
    ),
    "healthy_outbox": rule(
        "9: while rows lie in the outbox for seconds no patience with a call ends",
        redundant="patience begins only when what was written has left",
    ),
    "claim_restarts_patience": rule(
        "9, M4: patience that is rebuilt at a claim begins at the claim",
        redundant="to who looks at the outbox for the first time, all that is not there has left just now",
    ),
    "from_the_ack": rule("2: patience counts from the moment at which the command had left the outbox"),
}


class State(NamedTuple):
    now: int = 0
    in_outbox: bool = True
    acked_at: int = -1
    replied_at: int = -1  # the reply lies in the partition
    read: bool = False
    fired: bool = False
    up: bool = True
    claimed_us: int = 0
    wake_us: int = TIMER.due_us  # -1: none
    held: bool = False  # due, and waiting for the shard's watermark
    unhealthy_us: int = 0
    all_left_before_us: int = 0
    left_us: int = -1  # when the command had left the outbox, as far as is known
    cycled: bool = False  # in this second
    mark: tuple[int, int, int | None, int] = (-1, -1, None, -1)
    asked_us: int = -1  # a question to Kafka that is not answered yet
    faults: int = 2
    alarm: str = ""


class _Cycle(NamedTuple):
    wake_us: int
    held: bool
    unhealthy_us: int
    all_left_before_us: int
    left_us: int
    mark: tuple[int, int, int | None, int]
    asks: bool
    fires: bool


class TimersMachine(Machine):
    name = "M4 timers"

    def with_its_code(self) -> AbstractContextManager[object]:
        stack = ExitStack()
        stack.callback(_cycle.cache_clear)
        _cycle.cache_clear()
        healthy_s = HEALTHY_S if "healthy_outbox" in self.rules else TIME_MAX_S + 1
        stack.enter_context(patch.object(limits, "OUTBOX_HEALTHY_S", healthy_s))
        if "watermark" not in self.rules:
            stack.enter_context(patch.object(Watermarks, "lets_in", lambda *_: True))
        if "watermark_after_due" not in self.rules:
            seen = lambda marks, shard, _due: shard in marks._shards and marks._shards[shard].observed_us >= 0
            stack.enter_context(patch.object(Watermarks, "lets_in", seen))
        if "from_the_ack" not in self.rules:
            stack.enter_context(patch.object(Departures, "left_us", lambda _, written_us: written_us))
        if "row_in_outbox_not_sent" not in self.rules:
            stack.enter_context(patch.object(Patience, "_unsent", lambda *_: frozenset()))
        return stack

    def initial(self) -> State:
        return State()

    def ended(self, s: State) -> bool:
        return s.read or s.fired or s.now == TIME_MAX_S

    def steps(self, s: State) -> Iterator[Step]:
        if s.read or s.fired:
            return
        if s.now < TIME_MAX_S and (s.cycled or not s.up):
            yield "must", f"it is {s.now + 1} s", s._replace(now=s.now + 1, cycled=False)
        if s.in_outbox:
            yield "must", "the relay sends the command and deletes its row", s._replace(in_outbox=False, acked_at=s.now)
        if s.acked_at >= 0 and s.replied_at < 0:
            yield "must", "the reply lies in the partition", s._replace(replied_at=s.now)
        if not s.up:
            yield "must", "an orchestrator claims the shard", self.claim(s)
            return
        yield from self.orchestrator(s)
        if s.faults:
            yield "fault", "the orchestrator dies", State(*s[:6], up=False, wake_us=-1, faults=s.faults - 1)

    def claim(self, s: State) -> State:
        claimed_us = s.now * SECOND if "claim_restarts_patience" in self.rules else 0
        return s._replace(up=True, claimed_us=claimed_us, wake_us=TIMER.due_us)

    def orchestrator(self, s: State) -> Iterator[Step]:
        if s.replied_at >= 0:
            yield "must", "the reply is read", s._replace(read=True)
        if s.asked_us >= 0:
            end = int(s.replied_at >= 0)
            mark = _told(s.mark, end, s.asked_us)
            yield "must", f"Kafka says where the partition ends: {end}", s._replace(mark=mark, asked_us=-1)
        cycle = _cycle(
            *(s.now, s.in_outbox, s.claimed_us, s.wake_us, s.held),
            *(s.unhealthy_us, s.all_left_before_us, s.left_us, s.mark),
        )
        after = s._replace(
            cycled=True,
            all_left_before_us=cycle.all_left_before_us,
            left_us=cycle.left_us,
            wake_us=cycle.wake_us,
            held=cycle.held,
            unhealthy_us=cycle.unhealthy_us,
            mark=cycle.mark,
            asked_us=s.now * SECOND if cycle.asks and s.asked_us < 0 else s.asked_us,
        )
        yield (
            "must",
            "a cycle: the timer fires" if cycle.fires else "a cycle",
            self.fire(after) if cycle.fires else after,
        )

    def fire(self, s: State) -> State:
        s = s._replace(fired=True)
        if s.in_outbox or s.acked_at < 0:
            return s._replace(alarm="timed out, and the command had not been sent")
        if 0 <= s.replied_at < TIMEOUT_S + s.claimed_us // SECOND and s.replied_at < s.now:
            return s._replace(alarm="timed out, and the reply lay in the partition before the timer fell due")
        if s.now - s.acked_at < TIMEOUT_S - LOOKS_S:
            return s._replace(alarm=f"timed out {s.now - s.acked_at} s after the ack; {TIMEOUT_S} were promised")
        return s


def _told(mark: tuple[int, int, int | None, int], end: int, asked_us: int) -> tuple[int, int, int | None, int]:
    marks = _marks(mark)
    marks.observed(0, end, asked_us)
    marks.reached(0, 0)
    return _mark(marks)


def _marks(mark: tuple[int, int, int | None, int]) -> Watermarks:
    return Watermarks({0: watermarks_module._Shard(*mark)})


def _mark(marks: Watermarks) -> tuple[int, int, int | None, int]:
    shard = marks._shards[0]
    return shard.observed_us, shard.asked_us, shard.target, shard.target_us


class _Processing:
    """The saga that waits: its next timer measures patience with its call."""

    def prepare(self, _connection: Any, _work: Any) -> None: ...

    def timers(self, _wakeup: Wakeup) -> tuple[Timer, ...]:
        return (TIMER,)

    def key(self, _wakeup: Wakeup, _timer: Timer) -> str:
        return "uid:0:0"


class _Outbox:
    """What Patience asks Postgres."""

    def __init__(self, *, holds_row: bool) -> None:
        self._rows = [(0,)] if holds_row else []
        self._keys = [("uid:0:0",)] if holds_row else []
        self._found: list[Any] = []

    def execute(self, statement: str, _params: Any = None) -> "_Outbox":
        self._found = self._rows if statement is patience_module._OLDEST else self._keys
        return self

    def fetchone(self) -> Any:
        return self._found[0] if self._found else None

    def __iter__(self) -> Iterator[Any]:
        return iter(self._found)


@cache
def _cycle(
    now: int,
    in_outbox: bool,
    claimed_us: int,
    wake_us: int,
    held: bool,
    unhealthy_us: int,
    all_left_before_us: int,
    left_us: int,
    mark: tuple[Any, ...],
) -> _Cycle:
    asked: list[int] = []
    wakeups, marks = Wakeups(), _marks(mark)
    made = Patience(wakeups, marks, _Processing(), asked.extend)  # type: ignore[arg-type]
    made._unhealthy_us = unhealthy_us
    departures = made._departures
    departures._all_left_before_us = all_left_before_us
    if left_us >= 0:
        departures._lags.append(_Lag(0, all_left_before_us, left_us))
    if held:
        made._held[0] = [Wakeup(1, "saga", 0, wake_us)]
    elif wake_us >= 0:
        wakeups.set(1, "saga", 0, wake_us)
    hold = Hold(0, 1, UUID(int=1), 0, 0, "topic", claimed_us)
    fired = made.due(_Outbox(holds_row=in_outbox), {0: hold}, now * SECOND)  # type: ignore[arg-type]
    still_held = made._held.get(0)
    next_us = still_held[0].due_us if still_held else wakeups.next_us()
    return _Cycle(
        wake_us=-1 if next_us is None else next_us,
        held=bool(still_held),
        unhealthy_us=made._unhealthy_us,
        all_left_before_us=departures._all_left_before_us,
        left_us=-1 if departures.left_us(0) is None else departures.left_us(0),
        mark=_mark(marks),
        asks=bool(asked),
        fires=bool(fired),
    )


SUBJECT = Subject("M4 timers", (TimersMachine,), RULES)
