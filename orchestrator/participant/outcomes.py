"""How a call to the outside ended. `error` is what the breaker hears of: None if the other side answered well."""

from dataclasses import dataclass, field
from typing import Any

from orchestrator.contracts import Event
from orchestrator.participant.external import Call
from orchestrator.problems import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    error: BaseException | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotDone(Outcome):
    """It did not happen, was not taken back, or can't be told as asked; `problem` is for whoever asked."""

    problem: Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded(Outcome):
    """It happened; the handler or a lookup gave the reply."""

    reply: bytes
    value: Any
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined(NotDone):
    """A Failure: a definite no."""

    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Postponed(NotDone):
    """Not done this time, for certain: a Transient, an open breaker, or too late to begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost(NotDone):
    """Nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken(NotDone):
    """It happened, and what the handler returned is no reply of its command: no repetition mends that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoEnded(Outcome):
    """Taken back; or, with `called` False, found that there is nothing to take back."""

    called: bool
    reply: bytes | None = None
    value: Any = None
    returned: Any = None
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoRefused(NotDone):
    """The other side said no to the undo: people have to look at it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoPostponed(NotDone):
    """Not undone this time, for certain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoUnclear(NotDone):
    """It may have been undone: the same key makes a repetition harmless."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoEarly(Outcome):
    """A lookup found nothing, and a request could still be on its way: look again at `quiet_in_s` from now."""

    quiet_in_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rechecked(Outcome):
    """The second lookup: `found` if there is an effect that was not taken back."""

    found: bool
    reply: bytes | None = None
    value: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecheckFailed(Outcome):
    """The second lookup got no answer."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A call and how it ended, on the way to the inbox."""

    call: Call
    outcome: Outcome
    tries: int = field(default=0, compare=False)
