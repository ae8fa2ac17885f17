"""The world of simulated sagas: participants are fakes, local steps run at once, and a test moves the time."""

import asyncio
import heapq
import inspect
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypeVar
from uuid import NAMESPACE_URL, uuid5

from orchestrator.contracts import Command, CommandType, Message, message_named
from orchestrator.core import values
from orchestrator.core.decisions import (
    AnswerUndo,
    Decision,
    Finish,
    SendCommand,
    SendMessage,
    SendUndo,
    SettleChild,
    StartChild,
    StartSaga,
    StartStep,
    Timer,
    UndoChild,
)
from orchestrator.core.entries import (
    Json,
    MessageArrived,
    Replied,
    SettleRequested,
    Started,
    StepEnded,
    TimerFired,
    UndoReplied,
    UndoRequested,
)
from orchestrator.core.ids import OperationKey, SagaIdentity
from orchestrator.core.lifecycle import TERMINAL
from orchestrator.core.saga_type import SagaType
from orchestrator.core.step_context import running_step
from orchestrator.errors import DefinitionError
from orchestrator.problems import problem_of
from orchestrator.testing.fakes import Answer, Fake
from orchestrator.testing.simulated_saga import SimulatedSaga

_C = TypeVar("_C")
_I = TypeVar("_I")
_R = TypeVar("_R")

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_EVENTS_MAX = 100_000  # of one `start` or `advance`: more is a saga that never comes to rest


class Simulation:
    """Sagas, fakes and a clock. `seed` changes the sagas' own ids, and with them s.random() and s.uuid()."""

    def __init__(self, *, participants: Iterable[Any] = (), seed: int = 0) -> None:
        if tuple(participants):
            raise DefinitionError("Simulation(participants=…) can't run real handlers yet: fake their commands")
        self.now_us = int(_BEGIN.timestamp()) * 1_000_000
        self.sagas: dict[str, SimulatedSaga[Any]] = {}
        self.dead_letters: list[Message] = []  # to sagas that had ended
        self._seed = seed
        self._fakes: dict[str, Fake[Any, Any]] = {}
        self._stand_ins: dict[Any, Callable[..., Any]] = {}
        self._early: dict[str, list[MessageArrived]] = {}
        self._events: list[tuple[int, int, Callable[[], object]]] = []
        self._order = count()

    # ---- what a test does -------------------------------------------------------------------------------------------

    def fake(self, command: CommandType[_C, _R], /) -> Fake[_C, _R]:
        """The participant for a command; the same one each time it is asked for."""
        if not (isinstance(command, type) and issubclass(command, Command)):
            raise DefinitionError(f"sim.fake() is for command classes, not for {command!r}")
        name = command.__wire_name__
        return self._fakes.setdefault(name, Fake(command))

    def replace(self, function: Callable[..., Any], stand_in: Callable[..., Any], /) -> None:
        """Run `stand_in` for a step's function, with the same arguments; a transaction's connection is None."""
        self._stand_ins[function] = stand_in

    def start(self, saga: SagaType[_I, _R], input: _I, /, *, id: str = "test") -> SimulatedSaga[_R]:
        """Runs until it waits for something that only you can give: a message, or time."""
        started = self._start(saga, values.to_json(saga.input_type, input), id, None)
        self.run()
        return started

    def advance(self, duration: timedelta | float, /) -> None:
        """Let time pass: what comes first happens first, messages before timers."""
        seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
        self._run_until(self.now_us + round(seconds * 1e6))

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.now_us / 1e6, UTC)

    def close(self) -> None:
        """Throw all sagas out of memory."""
        for saga in self.sagas.values():
            saga.live.evict()

    # ---- time -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """All that can happen without time passing."""
        self._run_until(self.now_us)

    def _post(self, event: Callable[[], object], after_s: float = 0.0) -> None:
        heapq.heappush(self._events, (self.now_us + round(after_s * 1e6), next(self._order), event))

    def _run_until(self, until_us: int) -> None:
        for _ in range(_EVENTS_MAX):
            event_us = self._events[0][0] if self._events else None
            timed = self._first_timer()
            if event_us is not None and event_us <= until_us and (timed is None or event_us <= timed[1].due_us):
                self.now_us = max(self.now_us, event_us)
                heapq.heappop(self._events)[2]()
            elif timed is not None and timed[1].due_us <= until_us:
                saga, timer = timed
                self.now_us = max(self.now_us, timer.due_us)
                saga.feed(TimerFired(at_us=self.now_us, timer=timer.number))
            else:
                self.now_us = until_us
                return
        raise AssertionError(f"after {_EVENTS_MAX} events the sagas have not come to rest")

    def _first_timer(self) -> tuple[SimulatedSaga[Any], Timer] | None:
        """Of all sagas; of those due together the older saga's."""
        timers = [(saga, timer) for saga in self.sagas.values() if (timer := saga.live.next_timer) is not None]
        return min(timers, key=lambda item: item[1].due_us, default=None)

    # ---- what sagas decide ------------------------------------------------------------------------------------

    def carry_out(self, saga: SimulatedSaga[Any], decision: Decision) -> None:
        """Deliver it, at once."""
        match decision:
            case SendCommand():
                self._post(lambda: self._command(saga, decision))
            case SendUndo():
                self._post(lambda: self._undo(saga, decision))
            case StartStep():
                self._post(lambda: self._step(saga, decision))
            case StartChild():
                parent = (saga, decision.seq)
                self._post(lambda: self._start(decision.saga, decision.input, decision.id, parent))
            case UndoChild():
                self._post(lambda: self._undo_child(saga, decision))
            case SettleChild():
                self._post(lambda: self._settle_child(saga, decision))
            case StartSaga():
                self._post(lambda: self._start(decision.saga, decision.input, decision.id, None))
            case SendMessage():
                message = values.decode(message_named(decision.type), decision.body)
                self._post(lambda: self.send_message(decision.saga_id, message, decision.channel))
            case AnswerUndo():
                self._post(lambda: self._answer_undo(saga, decision))
            case Finish():
                self._post(lambda: self._tell_parent(saga, decision))

    def send_message(self, saga_id: str, message: Message, channel: str = "") -> None:
        """To a saga that is not there yet it waits, to one that has ended it is a dead letter."""
        number = next(self._order)
        entry = MessageArrived(
            at_us=self.now_us,
            message_id=f"message-{number}",
            type=type(message).__wire_name__,
            channel=channel,
            body=values.to_json(type(message), message),
        )
        saga = self.sagas.get(saga_id)
        if saga is None:
            self._early.setdefault(saga_id, []).append(entry)
        elif saga.status in TERMINAL:
            self.dead_letters.append(message)
        else:
            self._post(lambda: saga.feed(replace(entry, at_us=self.now_us)))

    def name_of_child(self, parent: SimulatedSaga[Any], seq: int) -> str:
        return next((s.identity.type for s in self.sagas.values() if s.parent == (parent, seq)), f"operation {seq}")

    def _start(
        self,
        saga: SagaType[Any, Any],
        input: Json,
        id: str,
        parent: tuple[SimulatedSaga[Any], int] | None,
    ) -> SimulatedSaga[Any]:
        assert id not in self.sagas, f"there is a saga {id!r} already: give this one another id="
        identity = SagaIdentity(
            id=id,
            uid=str(uuid5(NAMESPACE_URL, f"amends-simulation:{self._seed}:{id}")),
            type=saga.name,
            version=saga.version,
            shard=0,
            parent_id=parent[0].identity.id if parent is not None else None,
        )
        started = SimulatedSaga(self, saga, identity)
        started.parent = parent
        self.sagas[id] = started
        started.feed(Started(at_us=self.now_us, input=input))
        for message in self._early.pop(id, ()):
            started.feed(replace(message, at_us=self.now_us))
        return started

    def _command(self, saga: SimulatedSaga[Any], sent: SendCommand) -> None:
        answer = self._fake_of(sent.type).handle(sent, saga.identity.key(sent.seq))
        if answer is None:
            return
        outcome: Any = answer.outcome
        reply = Replied(
            at_us=0, seq=sent.seq, attempt=sent.attempt, outcome=outcome, body=answer.body, problem=answer.problem
        )
        self._post(lambda: saga.feed(replace(reply, at_us=self.now_us)), answer.after_s)

    def _undo(self, saga: SimulatedSaga[Any], sent: SendUndo) -> None:
        answer = self._fake_of(sent.type).undo(sent, saga.identity.key(sent.seq))
        self._undone(saga, sent.seq, sent.attempt, answer)

    def _undone(self, saga: SimulatedSaga[Any], seq: int, attempt: int, answer: Answer) -> None:
        outcome: Any = answer.outcome
        saga.feed(UndoReplied(at_us=self.now_us, seq=seq, attempt=attempt, outcome=outcome, problem=answer.problem))

    def _fake_of(self, name: str) -> Fake[Any, Any]:
        fake = self._fakes.get(name)
        if fake is None:
            raise AssertionError(f"nobody handles {name} in this simulation: sim.fake({name}).answer(…)")
        return fake

    def _step(self, saga: SimulatedSaga[Any], step: StartStep) -> None:
        undo_of = step.undo_of
        key = saga.identity.key(step.seq) if undo_of is None else f"{saga.identity.key(undo_of)}:undo"
        body, problem = None, None
        try:
            with running_step(key, step.attempt):
                result = self._run_function(step)
            body = values.result_json(step.function, result) if undo_of is None else None
        except Exception as error:
            problem = problem_of(error)
        ignored = saga.feed(
            StepEnded(
                at_us=self.now_us,
                seq=step.seq,
                attempt=step.attempt,
                outcome="succeeded" if problem is None else "raised",
                body=body,
                problem=problem,
            )
        )
        if undo_of is not None and problem is None and ignored is None:
            saga.undid(undo_of)

    def _run_function(self, step: StartStep) -> Any:
        function = self._stand_ins.get(step.function)
        if function is None:
            if step.kind == "transaction":
                raise AssertionError(f"{step.name} wants a connection: sim.replace({step.name}, stand_in)")
            function = step.function
        args = (None, *step.args) if step.kind == "transaction" else step.args
        result = function(*args)
        return _run_coroutine(result) if inspect.iscoroutine(result) else result

    def _undo_child(self, parent: SimulatedSaga[Any], decision: UndoChild) -> None:
        child = self.sagas.get(decision.id)
        assert child is not None, f"there is no child {decision.id}"
        key = parent.identity.key(decision.seq)
        child.feed(UndoRequested(at_us=self.now_us, key=key, attempt=decision.attempt, reply_to="simulation"))

    def _settle_child(self, parent: SimulatedSaga[Any], decision: SettleChild) -> None:
        child = self.sagas.get(decision.id)
        assert child is not None, f"there is no child {decision.id}"
        child.feed(SettleRequested(at_us=self.now_us, key=parent.identity.key(decision.seq)))

    def _answer_undo(self, child: SimulatedSaga[Any], decision: AnswerUndo) -> None:
        assert child.parent is not None
        seq = OperationKey.parse(decision.key).seq
        answer = Answer(decision.outcome, problem=decision.problem)
        self._undone(child.parent[0], seq, decision.attempt, answer)

    def _tell_parent(self, child: SimulatedSaga[Any], finish: Finish) -> None:
        if child.parent is None:
            return
        parent, seq = child.parent
        parent.feed(
            Replied(
                at_us=self.now_us,
                seq=seq,
                attempt=1,
                outcome="succeeded" if finish.status == "completed" else "failed",
                body=finish.result,
                problem=finish.problem,
            )
        )


def _run_coroutine(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """To its end, on a loop of its own; on another thread if this one has a loop that runs."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()
