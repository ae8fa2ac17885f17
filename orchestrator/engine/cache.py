"""Live sagas in memory: parked coroutines. A cold one is replayed from its journal; the idle ones are evicted.

What is here is only a cache: after a lost shard, a failed commit or an eviction the journal gives it back.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import psycopg

from orchestrator import limits
from orchestrator.core.blocked import Blocked
from orchestrator.core.registry import Registry
from orchestrator.core.replay import replay
from orchestrator.core.turn import LiveSaga
from orchestrator.engine import journal, sagas
from orchestrator.problems import Problem


@dataclass(slots=True)
class Resident:
    """A saga as this process knows it. `live` is None while it is queued, blocked or over; `trouble` says why a replay
    was refused, and has not been written yet.
    """

    row: sagas.SagaRow
    status: str
    live: LiveSaga | None = None
    trouble: Problem | None = None
    used_s: float = 0.0


class Cache:
    """Least recently used first."""

    def __init__(self, registry: Registry, size_max: int = limits.LIVE_SAGAS_MAX) -> None:
        self._registry, self._size_max = registry, size_max
        self.watched: Callable[[str], AbstractContextManager[None]] = lambda _saga_id: nullcontext()
        self._residents: OrderedDict[str, Resident] = OrderedDict()

    def __len__(self) -> int:
        return len(self._residents)

    def __contains__(self, saga_id: str) -> bool:
        return saga_id in self._residents

    def get(self, saga_id: str) -> Resident | None:
        """The saga if it is in memory."""
        resident = self._residents.get(saga_id)
        if resident is not None:
            resident.used_s = time.monotonic()
            self._residents.move_to_end(saga_id)
        return resident

    def row_of(self, saga_id: str) -> sagas.SagaRow | None:
        """Who a saga is, if it is in memory: nobody has used it."""
        resident = self._residents.get(saga_id)
        return None if resident is None else resident.row

    def interrupt(self, saga_id: str) -> None:
        """From the watchdog's thread: the turn that runs ends in Blocked, whatever the saga's code does."""
        resident = self._residents.get(saga_id)
        if resident is not None and resident.live is not None:
            resident.live.interrupt()

    def put(self, resident: Resident) -> None:
        resident.used_s = time.monotonic()
        self._residents[resident.row.id] = resident

    def load(self, connection: psycopg.Connection[Any], saga_ids: Iterable[str], *, undone: frozenset[str]) -> None:
        """Bring these into memory: their rows, and a replay for those that are open, or over but asked to undo."""
        missing = [saga_id for saga_id in saga_ids if saga_id not in self._residents]
        if not missing:
            return
        rows = sagas.find(connection, missing)
        replayed = [r for r in rows.values() if r.status in sagas.OPEN or (r.id in undone and r.status in sagas.ENDED)]
        journals = journal.read(connection, [row.saga_no for row in replayed]) if replayed else {}
        for row in rows.values():
            resident = Resident(row, row.status)
            if row.saga_no in journals:
                self._replay(resident, journals[row.saga_no])
            self.put(resident)

    def _replay(self, resident: Resident, turns: list[list[Any]]) -> None:
        row = resident.row
        saga_type = self._registry.get(row.type, row.version)
        if saga_type is None:
            resident.trouble = unknown_type(row)
            return
        try:
            resident.live = replay(saga_type, row.identity, turns)
        except Blocked as blocked:
            resident.trouble = blocked.problem

    def drop(self, saga_id: str) -> None:
        """Forget one: its coroutines are closed, with every operation refusing."""
        resident = self._residents.pop(saga_id, None)
        if resident is not None and resident.live is not None:
            with self.watched(saga_id):  # Its code runs once more, and may answer by going on.
                resident.live.evict()

    def drop_shards(self, shards: frozenset[int]) -> None:
        """These shards are not ours any more."""
        for saga_id in [i for i, r in self._residents.items() if r.row.shard in shards]:
            self.drop(saga_id)

    def evict(self, busy: frozenset[str] = frozenset()) -> int:
        """Throw out the idle, and the longest unused above the limit. `busy` are in the coming batch. How many went."""
        horizon_s = time.monotonic() - limits.LIVE_IDLE_S
        gone: list[str] = []
        for saga_id, resident in self._residents.items():
            if len(self._residents) - len(gone) <= self._size_max and resident.used_s > horizon_s:
                break
            if saga_id not in busy:
                gone.append(saga_id)
        for saga_id in gone:
            self.drop(saga_id)
        return len(gone)


def unknown_type(row: sagas.SagaRow) -> Problem:
    """Why a saga can't run here: no function of its name and version was given to this orchestrator."""
    return Problem(
        kind="error",
        type="UnknownSaga",
        text=(
            f"saga {row.id} is a {row.type!r} of version {row.version}, which this orchestrator was not started with. "
            f"Nothing was lost: start one whose App lists it, then `amends unblock {row.id}`"
        ),
    )
