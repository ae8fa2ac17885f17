"""All that one live saga knows: its clock, its operations, its status, and what this turn has decided so far.

The parts of the core (calls, steps, mailbox, undo, ending) work on it; none of them holds state that is not here or in
an operation. It is rebuilt by replaying, never stored.
"""

from asyncio import Future
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from random import Random
from threading import get_ident
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator import limits
from orchestrator.core.blocked import Evicted, author_line, blocked
from orchestrator.core.decisions import Decision, SetStatus, Wait
from orchestrator.core.ids import SagaIdentity
from orchestrator.core.lifecycle import Happening, Status, after
from orchestrator.core.loop import SagaLoop
from orchestrator.core.timers import RuntimeTimer
from orchestrator.errors import Misuse
from orchestrator.problems import Problem

if TYPE_CHECKING:
    from orchestrator.core.operations import Operation
    from orchestrator.core.undo import Place

# A place in code, by its instruction. Which line that is, Python finds out by walking over the code's table of lines:
# in a saga of 60 lines that was a tenth of a turn, so `file_and_line` asks when somebody wants to know.
Site = tuple[CodeType, int]


def site_of(frame: FrameType) -> Site:
    """Where a frame is now."""
    return frame.f_code, frame.f_lasti


def file_and_line(site: Site) -> str:
    """`file:line`, for people."""
    code, instruction = site
    line = next((line for start, end, line in code.co_lines() if start <= instruction < end), None)
    return f"{code.co_filename}:{line or code.co_firstlineno}"


class Stuck(Protocol):
    """Something that waits for a person's word, and why."""

    @property
    def problem(self) -> Problem | None: ...

    def why_not(self, verb: str) -> str | None:
        """Why `retry` or `skip` is not for it; None if it is."""

    def retry(self) -> None: ...
    def skip(self, note: str) -> None: ...


@dataclass(slots=True)
class Unbegun:
    """An operation that was made and not awaited (yet)."""

    what: str
    site: Site
    coroutine: Coroutine[Any, Any, Any]


class SagaState:
    """See the module. `steps` are the operations that a StepEnded may speak of: steps, and undos of steps."""

    __slots__ = (
        "_next_seq",
        "_opened_in_turn",
        "_random",
        "_uuids",
        "cancelling",
        "decisions",
        "identity",
        "left",
        "left_at_the_end",
        "left_seqs",
        "loop",
        "made",
        "operations",
        "pivot_seq",
        "root",
        "services",
        "site",
        "sites",
        "status",
        "status_before",
        "steps",
        "stuck",
        "unbegun",
    )

    def __init__(self, identity: SagaIdentity) -> None:
        self.identity = identity
        self.loop = SagaLoop(identity.uid, identity)
        self.loop.timer_noted = self._note_timer
        self.status: Status = "queued"
        self.status_before: Status = "running"
        self.cancelling = False
        self.operations: dict[int, Operation] = {}
        self.steps: dict[int, Any] = {}
        self.stuck: list[Stuck] = []
        self.made = 0  # operations, whether they were awaited or not
        self.unbegun: dict[int, Unbegun] = {}  # by their number among these
        self.services: dict[str, list[int]] = {}
        self.left: list[str] = []  # what a person gave up taking back, for people; left_seqs names the operations
        self.left_seqs: frozenset[int] = frozenset()
        self.left_at_the_end: tuple[str, ...] = ()
        self.pivot_seq: int | None = None
        self.root: Place = None  # type: ignore[assignment]  # set by the turn, which knows undo
        self.decisions: list[Decision] = []
        self.sites: list[Site | None] = []  # of each decision of this turn
        self.site: Site | None = None  # of what is being opened
        self._next_seq = 0
        self._opened_in_turn = 0
        self._uuids = 0
        self._random: Random | None = None

    # ---- a turn ---------------------------------------------------------------------------------------------------

    def begin_turn(self) -> None:
        self.decisions = []
        self.sites = []
        self._opened_in_turn = 0

    def decide(self, decision: Decision) -> None:
        """Raises Evicted while the saga is thrown out of memory."""
        if self.loop.evicted:
            raise Evicted
        self.decisions.append(decision)
        self.sites.append(self.site)

    def next_seq(self) -> int:
        """The number of the next operation, in the order of creation. Raises Blocked at the limit of a turn."""
        if self.loop.evicted:
            raise Evicted
        if self.loop.thread != get_ident():
            raise Misuse(f"{author_line()}: the handle of a saga was used outside of its saga (in a step, a thread)")
        self._opened_in_turn += 1
        if self._opened_in_turn > limits.TURN_OPERATIONS_MAX:
            error = blocked(
                "TurnLimit",
                f"more than {limits.TURN_OPERATIONS_MAX} operations in one turn ({author_line()}): "
                f"wait for some of them, or split the saga into children",
            )
            self.loop.broken = error
            raise error
        seq = self._next_seq
        self._next_seq += 1
        return seq

    def internal_seq(self) -> int:
        """The same for what the runtime opens itself (the undo of a step, a retry under a new key)."""
        seq = self._next_seq
        self._next_seq += 1
        return seq

    def forget(self) -> None:
        """After the eviction: break the rings, so that all of it is freed at once. Python's collector takes seconds for
        the rings of thousands of sagas, and everybody waits for it.
        """
        for operation in self.operations.values():
            # Its callbacks hold the tasks that hold it; asyncio lets go of them, and the loop takes no call any more.
            Future.cancel(operation.future)
        for container in (self.operations, self.steps, self.stuck, self.unbegun):
            container.clear()
        self.root = None  # type: ignore[assignment]  # nobody opens anything in an evicted saga
        self.loop.timer_noted = None

    # ---- status ---------------------------------------------------------------------------------------------------

    def move(self, happening: Happening) -> None:
        before = self.status
        self.status = after(before, happening, before=self.status_before)
        if happening in ("stick", "block"):
            self.status_before = before

    def stick(self, item: Stuck, reason: str, problem: Problem | None) -> None:
        """Wait for a person's word about `item`."""
        self.stuck.append(item)
        if self.status != "stuck":
            self.move("stick")
        self.decide(SetStatus(status="stuck", reason=reason, problem=problem))

    def unstick(self) -> list[Stuck]:
        """All that a person's word is about; the saga goes on."""
        items, self.stuck = self.stuck, []
        self._go_on()
        return items

    def came_loose(self, item: Stuck) -> None:
        """It solved itself, by a late answer."""
        if item in self.stuck:
            self.stuck.remove(item)
            if not self.stuck:
                self._go_on()

    def _go_on(self) -> None:
        self.move("go_on")
        self.decide(SetStatus(status="compensating" if self.status == "compensating" else "running"))

    # ---- time, names, chance: functions of the journal and the saga's identity --------------------------------------

    @property
    def now_us(self) -> int:
        return self.loop.now_us

    def arm(self, delay_s: float, callback: Callable[[], object], *, seq: int | None = None) -> RuntimeTimer:
        """A timer of the runtime's own; `seq` as in `decisions.Timer`."""
        return self.loop.arm(self.loop.now_us + max(0, round(delay_s * 1e6)), callback, seq=seq)

    def jitter(self, seq: int, attempt: int) -> float:
        """In [0, 1), the same for every replay and another for every attempt of every saga."""
        return int.from_bytes(self._digest(f"jitter:{seq}:{attempt}")[:6], "big") / 2**48

    def random(self) -> Random:
        if self._random is None:
            self._random = Random(self._digest("random"))
        return self._random

    def uuid_bytes(self) -> bytes:
        self._uuids += 1
        return self._digest(f"uuid:{self._uuids}")

    def _digest(self, what: str) -> bytes:
        return blake2b(f"{self.identity.uid}:{self.identity.run}:{what}".encode(), digest_size=16).digest()

    # ---- what people read -------------------------------------------------------------------------------------------

    def _note_timer(self, delay_s: float, is_sleep: bool) -> None:
        self.site = None
        name = f"{round(delay_s, 3):g}s"
        self.decide(Wait(seq=self.next_seq(), what="sleep" if is_sleep else "timeout", name=name))

    def undoable(self) -> "Iterator[Operation]":
        """What may have had an effect and can be taken back (or is being), the newest first; not what is kept."""
        for seq in sorted(self.operations, reverse=True):
            operation = self.operations[seq]
            if operation.has_effect_to_undo() or operation.state == "undoing":
                yield operation
