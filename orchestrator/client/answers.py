"""What a client is told."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

Status = Literal[
    "queued", "running", "compensating", "stuck", "blocked", "completed", "failed", "cancelled", "terminated"
]

ENDED: tuple[Status, ...] = ("completed", "failed", "cancelled", "terminated")
PARKED: tuple[Status, ...] = ("stuck", "blocked")


@dataclass(frozen=True, slots=True)
class Started:
    """`created` False: this saga was there already. None: not known yet, your database is not the orchestrator's."""

    id: str
    created: bool | None


@dataclass(frozen=True, slots=True)
class Description:
    """One saga as it is now. `values` are what it last `set`; `error` is why it ended, is stuck or is blocked."""

    id: str
    type: str
    version: int
    status: Status
    started_at: datetime
    ended_at: datetime | None
    waiting_for: tuple[str, ...]
    values: dict[str, Any]
    error: str | None


@dataclass(frozen=True, slots=True)
class SagaRow:
    """A line of `amends ls`."""

    id: str
    type: str
    version: int
    status: Status
    shard: int
    started_at: datetime
    ended_at: datetime | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the sagas that a list has, the newest first. `next_cursor` None: there are no more.

    It may have fewer rows than were asked for, or none, and still a cursor: then enough was looked at for one request.
    """

    sagas: tuple[SagaRow, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Opened:
    """From here on nothing is missed: what was read before may be old, a list that is read now is not."""

    cursor: str


@dataclass(frozen=True, slots=True)
class Moved:
    """A saga as it is now. Several moves within a quarter of a second are one."""

    saga: SagaRow
    cursor: str


@dataclass(frozen=True, slots=True)
class ShardTaken:
    """A shard that changed its owner; `before` had it."""

    shard: int
    epoch: int
    before: str


@dataclass(frozen=True, slots=True)
class TookOver:
    """An orchestrator went on with what another one had: after a death, or because they share the work anew."""

    worker: str
    at: datetime
    shards: tuple[ShardTaken, ...]
    cursor: str = ""


@dataclass(frozen=True, slots=True)
class Missed:
    """Something may have moved unseen. Read anew what you show, after the Opened that follows."""

    why: str


Watched = Opened | Moved | TookOver | Missed
"""What `Client.watch` tells. Give the latest `cursor` to another `watch`, and it goes on there."""


@dataclass(frozen=True, slots=True)
class JournalRow:
    """One turn: what came in, then what was decided. `wake_us`: when it wants to be woken, if nothing comes."""

    pos: int
    wake_us: int | None
    body: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class VerbRow:
    """A word that was given to a saga, and what came of it."""

    verb_no: int
    saga_id: str
    verb: str
    note: str
    given_by: str
    given_at: datetime
    done_at: datetime | None
    outcome: str | None


@dataclass(frozen=True, slots=True)
class Record:
    """All that the database knows of one saga: `amends show`, `amends trace` and the console draw from it alone."""

    saga: SagaRow
    uid: str
    parent_id: str | None
    input: Any
    result: Any
    problem: dict[str, Any] | None
    left_undone: tuple[str, ...]
    traceparent: str | None
    values: dict[str, Any]
    journal: tuple[JournalRow, ...] = ()
    verbs: tuple[VerbRow, ...] = ()
    takeovers: tuple["Takeover", ...] = ()
    children: tuple["Record", ...] = ()


@dataclass(frozen=True, slots=True)
class Takeover:
    """The saga's shard changed its owner while the saga was open."""

    at_us: int
    epoch: int
    worker: str


def as_status(text: str) -> Status:
    """The table's CHECK allows nothing else."""
    return cast("Status", text)
