"""One saga in the simulation: its live half, its journal, and what a test may ask."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from orchestrator.contracts import Command, Event, Message, message_named
from orchestrator.core import values
from orchestrator.core.blocked import Blocked
from orchestrator.core.decisions import Decision, Finish, Publish, SendCommand, SetStatus, SetValue, StartStep, Turn
from orchestrator.core.entries import Entry, Json, UndoReplied, VerbGiven
from orchestrator.core.ids import SagaIdentity
from orchestrator.core.lifecycle import Status
from orchestrator.core.replay import journal_body, replay
from orchestrator.core.saga_type import SagaType
from orchestrator.core.turn import Ignored, LiveSaga
from orchestrator.errors import Misuse
from orchestrator.problems import exception_of

if TYPE_CHECKING:
    from orchestrator.testing.simulation import Simulation

_R = TypeVar("_R")
_T = TypeVar("_T")


class SimulatedSaga(Generic[_R]):
    """Made by `Simulation.start`."""

    def __init__(self, world: "Simulation", saga: SagaType[Any, _R], identity: SagaIdentity) -> None:
        self.identity = identity
        self.live = LiveSaga(saga, identity)
        self.journal: list[list[Json]] = []
        self.ignored: list[str] = []  # why entries were ignored
        self.finish: Finish | None = None
        self.parent: tuple[SimulatedSaga[Any], int] | None = None  # and the operation that this child is there
        self._world = world
        self._saga = saga
        self._values: dict[str, Json] = {}
        self._calls: dict[int, Command[Any]] = {}
        self._steps: dict[int, str] = {}
        self._undone: list[Command[Any] | str] = []
        self._published: list[Event] = []
        self._why_stuck = ""

    # ---- what a test does -------------------------------------------------------------------------------------------

    def send(self, message: Message, *, channel: str = "") -> None:
        """It arrives now."""
        self._world.send_message(self.identity.id, message, channel)
        self._world.run()

    def cancel(self) -> None:
        """The verb `cancel`."""
        self.verb("cancel")

    def verb(self, verb: Any, note: str = "") -> None:
        """What a person may do: cancel, terminate, retry, skip, fail. AssertionError if it is refused."""
        ignored = self.feed(VerbGiven(at_us=self._world.now_us, verb=verb, note=note))
        assert ignored is None, ignored.reason
        self._world.run()

    # ---- what a test asks -------------------------------------------------------------------------------------------

    @property
    def status(self) -> Status:
        return self.live.status

    def get(self, key: str, type: type[_T], /) -> _T | None:
        """The last value that it set."""
        value: _T | None = values.decode(type, self._values[key]) if key in self._values else None
        return value

    @property
    def waiting_for(self) -> Sequence[str]:
        """Names of what it waits for."""
        return list(self.live.waiting_for)

    @property
    def result(self) -> _R:
        """Raises the Failure that it ended by, SagaFailed if it failed otherwise, AssertionError if it still waits."""
        if self.finish is None:
            why = f" ({self._why_stuck})" if self.live.status == "stuck" else ""
            waiting = ", ".join(self.waiting_for) or "time"
            raise AssertionError(f"saga {self.identity.id} is {self.live.status}{why}: it waits for {waiting}")
        if self.finish.problem is not None:
            raise exception_of(self.finish.problem)
        result: _R = values.decode(self._saga.result_type, self.finish.result)
        return result

    @property
    def calls(self) -> Sequence[Command[Any]]:
        """Commands in the order in which they left; each once, however often it was tried."""
        return list(self._calls.values())

    @property
    def undone(self) -> Sequence[Command[Any] | str]:
        """Commands and names of steps (and children) that were undone, in order."""
        return list(self._undone)

    @property
    def published(self) -> Sequence[Event]:
        return list(self._published)

    # ---- what the simulation does -----------------------------------------------------------------------------------

    def feed(self, entry: Entry) -> Ignored | None:
        """One turn; its journal is replayed and compared; what was decided is carried out."""
        try:
            turn = self.live.feed(entry)
        except Blocked as error:
            if error.problem.type == "Misuse":
                raise Misuse(error.problem.text) from error
            raise
        if isinstance(turn, Ignored):
            self.ignored.append(turn.reason)
            return turn
        self.journal.append(journal_body(entry, turn))
        self._compare_with_replay(turn)
        for decision in turn.decisions:
            self._note(decision)
            self._world.carry_out(self, decision)
        if isinstance(entry, UndoReplied) and entry.outcome == "undone":
            self.undid(entry.seq)
        return None

    def undid(self, seq: int) -> None:
        """An operation was undone."""
        self._undone.append(self._calls.get(seq) or self._steps.get(seq) or self._world.name_of_child(self, seq))

    def _note(self, decision: Decision) -> None:
        match decision:
            case SendCommand(attempt=1):
                command = message_named(decision.type)
                self._calls[decision.seq] = values.decode(command, decision.body)
            case StartStep(undo_of=None, attempt=1):
                self._steps[decision.seq] = decision.name
            case SetValue():
                self._values[decision.key] = decision.value
            case Publish():
                self._published.append(values.decode(message_named(decision.type), decision.body))
            case SetStatus(status="stuck"):
                self._why_stuck = decision.reason
            case Finish():
                self.finish = decision

    def _compare_with_replay(self, turn: Turn) -> None:
        try:
            again = replay(self._saga, self.identity, self.journal)
        except Blocked as error:
            raise AssertionError(error.problem.text) from error
        try:
            assert again.status == self.live.status
            assert again.next_timer == turn.next_timer
            assert again.timers() == self.live.timers()
            assert again.pending_sends() == self.live.pending_sends()
            assert again.pending_steps() == self.live.pending_steps()
            assert again.abandoned_steps() == self.live.abandoned_steps()
            assert again.message_ids == self.live.message_ids
        finally:
            again.evict()
