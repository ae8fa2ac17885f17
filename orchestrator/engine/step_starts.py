"""Which local steps begin: what a commit has just allowed, and what was under way when a shard was claimed."""

from collections import deque
from collections.abc import Collection
from typing import Any

import psycopg

from orchestrator import limits
from orchestrator.core.decisions import StartStep
from orchestrator.engine.cache import Cache
from orchestrator.engine.sagas import SagaRow
from orchestrator.engine.steps import StepEnd, StepRunner
from orchestrator.engine.wakeups import Wakeups


class StepStarts:
    """The main loop's; the steps themselves run elsewhere."""

    def __init__(self, cache: Cache, steps: StepRunner, wakeups: Wakeups) -> None:
        self._cache, self._steps, self._wakeups = cache, steps, wakeups
        self._found: deque[tuple[int, str]] = deque()

    def found(self, shard: int, saga_id: str) -> None:
        """A saga of a claimed shard has steps under way: they run again, under the same keys."""
        self._found.append((shard, saga_id))

    def forget(self, shards: Collection[int]) -> None:
        """These are not ours any more: whoever claims them begins what is under way there."""
        self._found = deque(one for one in self._found if one[0] not in shards)

    def begin_found(self, connection: psycopg.Connection[Any]) -> bool:
        """Some of them, so that all others need not wait for so many replays. Whether there were any."""
        ids = [self._found.popleft()[1] for _ in range(min(len(self._found), limits.BATCH_REPLAYS_MAX))]
        self._cache.load(connection, ids, undone=frozenset())
        for saga_id in ids:
            self._begin_pending(saga_id)
        return bool(ids)

    def _begin_pending(self, saga_id: str) -> None:
        resident = self._cache.get(saga_id)
        if resident is None or resident.live is None:
            return
        row = resident.row
        for step in resident.live.pending_steps():
            self.begin(row.id, step)
        for seq, attempt in resident.live.abandoned_steps():
            # Whoever ran it has lost the shard: its end will not be heard of, and its undo may begin.
            self._steps.report_lost(_awaited(row, seq, attempt))
        timer = resident.live.next_timer
        self._wakeups.set(row.saga_no, row.id, row.shard, None if timer is None else timer.due_us)

    def begin(self, saga_id: str, step: StartStep) -> None:
        """What a committed turn decided. Nothing if the saga was lost since: its next owner begins it."""
        resident = self._cache.get(saga_id)
        if resident is None:
            return
        row = resident.row
        shown = row.key(step.seq) if step.undo_of is None else f"{row.key(step.undo_of)}:undo"
        self._steps.start(_awaited(row, step.seq, step.attempt), shown, step)


def _awaited(row: SagaRow, seq: int, attempt: int) -> StepEnd:
    return StepEnd(
        key=(row.key(seq), attempt),
        saga_no=row.saga_no,
        saga_id=row.id,
        shard=row.shard,
        seq=seq,
        attempt=attempt,
    )
