"""What one cycle works on, in its order: whom a replay found wrong, verbs, messages, ends of steps, due timers, and
those who were queued.

Nobody may fill a batch alone. A saga has BATCH_TURNS_PER_SAGA_MAX turns in it; what more it has waits for the next one,
and so does what lies behind that in its shard, whose offset can't pass it. Other shards go on.
"""

import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import psycopg

from orchestrator import limits
from orchestrator.engine import inbound, verbs
from orchestrator.engine.admission import Admission
from orchestrator.engine.intake import Arrived, Intake
from orchestrator.engine.ownership import Ownership
from orchestrator.engine.patience import Patience
from orchestrator.engine.processing import Work
from orchestrator.engine.replay_sample import ReplaySample
from orchestrator.engine.steps import StepEnd


class Gathering:
    """`ended` may be called from any thread; the rest is the main loop's."""

    def __init__(
        self,
        own: Ownership,
        intake: Intake,
        patience: Patience,
        admission: Admission,
        sample: ReplaySample,
        now_us: Callable[[], int],
    ) -> None:
        self._own, self._intake, self._patience = own, intake, patience
        self._admission, self._sample = admission, sample
        self._now_us = now_us
        self._verbs_read_s = 0.0

    def gather(self, connection: psycopg.Connection[Any], ends: deque[StepEnd]) -> list[Work]:
        """At most some thousands of items."""
        work: list[Work] = [*self._sample.take()]
        now = time.monotonic()
        if self._own.holds and now - self._verbs_read_s >= verbs.READ_EVERY_S:
            self._verbs_read_s = now
            work += verbs.read(connection, sorted(self._own.holds))
        work += [item for arrived in self._intake.take() if (item := self._item(arrived))]
        work += take_ends(ends)
        # Messages before timers: a reply that lies before us must not lose to its own timeout.
        work += self._patience.due(connection, self._own.holds, self._now_us())
        # Replies before new sagas.
        work += self._admission.next(connection, self._own.holds, self._patience.watermarks.lets_in)
        return work

    def _item(self, arrived: Arrived) -> inbound.Item | None:
        message = arrived.message
        hold = self._own.holds.get(message.partition)
        if hold is None or hold.epoch != arrived.epoch or message.offset < hold.next_offset:
            return None
        came = inbound.read(message, self._now_us())
        return inbound.Item(message.partition, message.offset, message, came)


def take_ends(ends: deque[StepEnd]) -> list[StepEnd]:
    """Ends of steps for one batch; a saga that has had its share gets its others, in their order, with the next."""
    taken: list[StepEnd] = []
    left: list[StepEnd] = []
    turns = Counter[str]()
    for _ in range(min(len(ends), limits.BATCH_TURNS_MAX)):
        end = ends.popleft()
        turns[end.saga_id] += 1
        (taken if turns[end.saga_id] <= limits.BATCH_TURNS_PER_SAGA_MAX else left).append(end)
    ends.extendleft(reversed(left))
    return taken
