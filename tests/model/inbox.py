"""The participant of M2: the product's own functions, run on one inbox row in memory.

`apply_command`, `apply_undo`, `apply_settled`, `apply_due` and `apply_end` only touch what their Unit holds, and a
Unit reaches Postgres only to lock and to flush. So a step of the model is: build the row, run the function, read the
row back. Each different step is run once and remembered.

What the model forgets of a row: texts, hashes, the numbers of runs (a task knows whether it is the one that holds the
row), and times, of which only matters what has passed.
"""

from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple
from unittest.mock import patch

from orchestrator import limits
from orchestrator.contracts import Command, Message
from orchestrator.errors import Failure
from orchestrator.messaging import avro
from orchestrator.messaging.control import ProblemRecord
from orchestrator.participant import Handling, Participant, commands, ends, inbox_states, scan
from orchestrator.participant.external import Call
from orchestrator.participant.inbox import Entry
from orchestrator.participant.inbox_states import InboxRow
from orchestrator.participant.outcomes import (
    Declined,
    Ended,
    Lost,
    Outcome,
    Postponed,
    Rechecked,
    Succeeded,
    UndoEarly,
    UndoEnded,
    UndoPostponed,
    UndoUnclear,
)
from orchestrator.participant.requests import CommandRequest, SettledRequest, UndoRequest, body_hash
from orchestrator.participant.service import LOG, Service
from orchestrator.participant.unit import Unit
from orchestrator.problems import Problem

Gateway = Literal["key", "reject", "lookup"]
GATEWAYS: tuple[Gateway, ...] = ("key", "reject", "lookup")

KEY = "uid:0:0"
NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(seconds=limits.INBOX_HORIZON_S * 2)
LATER, BEFORE = NOW + timedelta(days=1), NOW - timedelta(seconds=1)


class Row(NamedTuple):
    """What the model keeps of an inbox row. `held`: a run is outside until a deadline; `due`: to be looked at later."""

    state: str = "absent"
    in_doubt: bool = False
    recheck: bool = False
    attempt: int = 0
    held: bool = False
    due: bool = False
    quiet: bool = False  # it is noted until when a request of a given up attempt may be on its way
    reply: bool = False
    body: bool = False
    undo_asked: bool = False
    pause: bool = False  # the stored problem says `retry_after_s`
    settled: bool = False
    expired: bool = False


class Asked(NamedTuple):
    """What a call that is to begin knows."""

    kind: str
    attempt: int
    reply: bool
    in_doubt: bool
    quiet: bool


class After(NamedTuple):
    """What a step did: the row, the answers, the call that begins. `alarm`: it raised."""

    row: Row
    answers: tuple[tuple[Any, ...], ...] = ()
    call: Asked | None = None
    new_run: bool = False
    alarm: str = ""


class _Charged(Message):
    charge: str


class _Charge(Command[_Charged], service="model-payments"):
    amount: int = 1


class _Declined(Failure):
    pass


COMMAND = _Charge()
BODY = avro.encode(_Charge, COMMAND.model_dump(mode="json"))
REPLY = avro.encode(_Charged, {"charge": "1"})
HASH = body_hash(_Charge.__wire_name__, BODY, COMMAND)


async def _look(_cmd: _Charge, _ctx: Handling) -> _Charged | None:
    raise AssertionError("the model makes the calls")


def _participant(gateway: Gateway, *, pin: bool) -> Participant[None]:
    made: Participant[None] = Participant("model-payments")
    found: dict[str, Any] = {"lookup": _look} if gateway == "lookup" else {}

    @made.handles(_Charge, effect="external", in_doubt="pin" if pin else "wait", **found)
    async def charge(_cmd: _Charge, _ctx: Handling) -> _Charged:
        raise AssertionError("the model makes the calls")

    @charge.undo
    async def refund(_cmd: _Charge, _charged: _Charged | None, _ctx: Handling) -> None:
        raise AssertionError("the model makes the calls")

    return made


class Inbox:
    """One participant with one kind of gateway. `broken` are rules that the product's code is without."""

    def __init__(self, gateway: Gateway, broken: frozenset[str]) -> None:
        self.gateway, self.broken = gateway, broken
        self.pins = gateway == "key" and "pin_before_undo" not in broken
        self._service = Service(_participant(gateway, pin=self.pins))
        self._handler: Any = self._service.participant.handlers[_Charge.__wire_name__]
        self._known: dict[tuple[Any, ...], After] = {}

    # --- the steps

    def command(self, row: Row, attempt: int, *, stale: bool) -> After:
        request = CommandRequest(**self._common(attempt, stale=stale), sent_at=LONG_AGO if stale else NOW)
        return self._once(
            ("command", row, attempt, stale), row, request, lambda unit: commands.apply_command(unit, request, None)
        )

    def undo(self, row: Row, known: Literal["done", "unknown"], *, stale: bool, aged: bool, late: bool) -> After:
        """`late`: the deadline of the run that holds the row has passed, and no scan has seen it yet."""
        common, sent_at = self._common(1, stale=stale), LONG_AGO if aged else NOW
        reply = REPLY if known == "done" else None
        request = UndoRequest(**common, sent_at=sent_at, known=known, reply=reply)
        step = ("undo", row, known, stale, aged, late)
        return self._once(step, row, request, lambda unit: commands.apply_undo(unit, request, None), late=late)

    def settled(self, row: Row, *, stale: bool) -> After:
        request = SettledRequest(keys=(KEY,), expires_at=BEFORE if stale else LATER, at=None)  # type: ignore[arg-type]

        async def apply(unit: Unit) -> None:
            commands.apply_settled(unit, request)

        return self._once(("settled", row, stale), row, None, apply)

    def scan(self, row: Row) -> After:
        """The row's time has come."""

        async def apply(unit: Unit) -> None:
            entry = unit.find(KEY)
            assert entry is not None
            await scan.apply_due(unit, entry)

        return self._once(("scan", row), row, None, apply, late=True)

    def end(self, row: Row, asked: Asked, outcome: str, *, holds: bool) -> After:
        """A call ended."""

        async def apply(unit: Unit) -> None:
            await ends.apply_end(unit, Ended(self._call(asked, holds=holds), _OUTCOMES[outcome]), None)

        return self._once(("end", row, asked, outcome, holds), row, None, apply)

    # --- how a step is run

    def _once(
        self,
        step: tuple[Any, ...],
        row: Row,
        request: CommandRequest | UndoRequest | None,
        apply: Callable[[Unit], Coroutine[Any, Any, None]],
        *,
        late: bool = False,
    ) -> After:
        if step not in self._known:
            self._known[step] = self._run(row, request, apply, late=late)
        return self._known[step]

    def _run(
        self,
        row: Row,
        request: CommandRequest | UndoRequest | None,
        apply: Callable[[Unit], Coroutine[Any, Any, None]],
        *,
        late: bool,
    ) -> After:
        connection = SimpleNamespace(info=SimpleNamespace(backend_pid=1))
        unit = Unit(self._service, SimpleNamespace(sessions=None), connection)  # type: ignore[arg-type]
        unit.now = NOW
        entries: dict[str, Entry] = unit._entries
        if row.state != "absent":
            entries[KEY] = _entry(row, late=late)
        elif request is not None:
            entries[KEY] = commands.placeholder(request, self._service.name)
        try:
            _finish(apply(unit))
        except Exception as error:
            return After(row, alarm=f"{type(error).__name__}: {error}")
        after = row
        if KEY in unit._changed:
            after = _row(unit._changed[KEY])
        assert len(unit.calls) <= 1
        call = _asked(unit.calls[0]) if unit.calls else None
        run = unit._changed[KEY].run if KEY in unit._changed else 1
        return After(after, tuple(map(_answer, unit._rows)), call, new_run=call is not None and run != 1)

    def _common(self, attempt: int, *, stale: bool) -> dict[str, Any]:
        expires = BEFORE if stale and "expires_at" not in self.broken else LATER
        return {
            "key": KEY,
            "saga_id": "saga",
            "type": _Charge.__wire_name__,
            "attempt": attempt,
            "reply_to": "sagas/0",
            "nonce": "nonce",
            "traceparent": None,
            "expires_at": expires,
            "body": BODY,
            "body_hash": HASH,
            "command": COMMAND,
            "handler": self._handler,
            "at": None,
        }

    def _call(self, asked: Asked, *, holds: bool) -> Call:
        return Call(
            kind=asked.kind,  # type: ignore[arg-type]
            key=KEY,
            run=1 if holds else 0,
            saga_id="saga",
            attempt=asked.attempt,
            handler=self._handler,
            command=COMMAND,
            reply=REPLY if asked.reply else None,
            in_doubt=asked.in_doubt,
            give_up_at=0.0,
            quiet_at=0.0,
            hold_s=1.0,
            expires_at=LATER,
            traceparent=None,
        )


_LOST = Problem(kind="error", type="Lost", text="?", effect="unknown")
_EARLY = Problem(kind="transient", type="TooEarly", text="?", effect="unknown", retry_after_s=1.0)
_LATE = Problem(kind="transient", type="TooLate", text="?", effect="none", retry_after_s=0.5)
_OUTCOMES: dict[str, Outcome] = {
    "charged": Succeeded(reply=REPLY, value=None),
    "declined": Declined(problem=Problem(kind="failure", type="Declined", text="no", effect="none")),
    "lost": Lost(problem=_LOST),
    "too early": Postponed(problem=_EARLY),
    "too late": Postponed(problem=_LATE),
    "undone": UndoEnded(called=True),
    "undone with reply": UndoEnded(called=True, reply=REPLY),
    "nothing to undo": UndoEnded(called=False),
    "undo too late": UndoPostponed(problem=_LATE),
    "undo lost": UndoUnclear(problem=_LOST),
    "undo too early": UndoEarly(quiet_in_s=1.0),
    "found blindly": Rechecked(found=True),
    "found": Rechecked(found=True, reply=REPLY),
    "not found": Rechecked(found=False),
}


def _finish(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run what never really waits."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("an external handler's step waited for something")


def _entry(row: Row, *, late: bool) -> Entry:
    deadline = (BEFORE if late else LATER) if row.held else None
    entry = Entry(
        row=InboxRow(KEY, row.state, row.in_doubt, row.recheck),  # type: ignore[arg-type]
        service="model-payments",
        saga_id="saga",
        type=_Charge.__wire_name__,
        body_hash=HASH,
        body=BODY if row.body else None,
        attempt=row.attempt,
        run=1,
        deadline=deadline,
        due_at=deadline or (BEFORE if row.due else None),
        quiet_at=LATER if row.quiet else None,
        reply=REPLY if row.reply else None,
        recorded=row.reply,
        reply_to="sagas/0",
        nonce="nonce",
        undo_attempt=int(row.undo_asked),
        settled=row.settled,
        expires_at=BEFORE if row.expired else LATER,
        created_at=NOW,
    )
    problem = _EARLY if row.pause else _LOST
    return replace(entry, problem=ProblemRecord(problem=problem).encode())


def _row(entry: Entry) -> Row:
    if entry.state == "absent":
        return Row()
    problem = ProblemRecord.decode(entry.problem).problem if entry.problem and entry.state == "retryable" else None
    return Row(
        state=entry.state,
        in_doubt=entry.row.in_doubt,
        recheck=entry.row.recheck,
        attempt=entry.attempt,
        held=entry.deadline is not None,
        due=entry.deadline is None and entry.due_at is not None,
        quiet=entry.quiet_at is not None,
        reply=entry.reply is not None,
        body=entry.body is not None,
        undo_asked=entry.undo_attempt > 0,
        pause=problem is not None and problem.retry_after_s is not None,
        settled=entry.settled,
        expired=entry.expires_at < NOW,
    )


def _asked(call: Call) -> Asked:
    return Asked(
        call.kind, call.attempt, call.reply is not None, call.in_doubt, call.quiet_at > call.give_up_at - call.hold_s
    )


def _answer(row: Any) -> tuple[Any, ...]:
    outcome, attempt = row.headers["outcome"], int(row.headers["attempt"])
    if row.headers["kind"] == "undone":
        return ("undone", 0) if outcome == "undone" else ("not undone", outcome)
    if outcome == "succeeded":
        return ("success", attempt)
    problem = ProblemRecord.decode(row.payload).problem
    pause = problem.retry_after_s is not None
    return ("retry", attempt, problem.effect, pause) if outcome == "retry" else (outcome, attempt, problem.effect)


# --- the product's code, broken on purpose


def mutated(broken: frozenset[str]) -> AbstractContextManager[object]:
    """Take these rules out of the product's code for a while."""
    stack = ExitStack()
    stack.enter_context(patch.object(LOG, "disabled", True))
    table: dict[Any, Any] = {}
    if "done_runs_undo" in broken:
        table["absent", "undo_done"] = ("refused", "answer")
    if "tombstone" in broken:
        table["absent", "undo_unknown"] = ("absent", "answer")
    if "undo_waits_for_running" in broken:
        table["running", "undo_unknown"] = ("refused", "answer")
    if "undoing_state" in broken:
        for pair, (state, action) in inbox_states.TRANSITIONS.items():
            if (state, action) == ("undoing", "undo"):
                table[pair] = ("undone", action)
        for event in ("undo_ended", "undo_unclear", "undo_postponed", "undo_early"):
            table["undone", event] = ("undone", "answer")
        stack.enter_context(patch.dict(ends._HELD_IN, undo="undone"))
    if "horizon_guard" in broken:
        stack.enter_context(patch.object(commands, "_is_aged", lambda _unit, _request: False))
    if "in_doubt" in broken:
        stack.enter_context(patch.object(inbox_states, "_DOUBTFUL", frozenset()))
    left = {
        pair: to
        for pair, to in {**inbox_states.TRANSITIONS, **table}.items()
        if not ("late_result" in broken and pair[1] == "late")
    }
    stack.enter_context(patch.dict(inbox_states.TRANSITIONS, left, clear=True))
    return stack
