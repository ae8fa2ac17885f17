"""How an orchestrator is, for whoever looks from another thread: what it has, what it counted, why it does not work.

Reads only, and never waits: plain numbers and copies of small dictionaries that the worker's own threads replace.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.engine.counts import Counts

if TYPE_CHECKING:
    from orchestrator.engine.worker import Worker

KAFKA_SILENT_S = 6.0  # it is asked every 2 s
LOOP_STILL_S = 6.0  # two leases: by then somebody else has its shards
LOOP_DEAD_S = 60.0
_COPIES_MAX = 5


@dataclass(slots=True)
class Seen:
    """The main loop's cycle counter and since when it stands still, by the observer's own clock."""

    cycles: int = -1
    since_s: float = 0.0


class Vitals:
    """Of one Worker, which may not have begun. Times are monotonic seconds of this process."""

    def __init__(self, worker: "Worker") -> None:
        self._worker = worker
        self._seen = Seen()

    @property
    def name(self) -> str:
        return self._worker._name

    def tick(self, now_s: float) -> None:
        """Look at the main loop's counter: to be called about once a second."""
        cycles = self._worker._cycles
        if cycles != self._seen.cycles:
            self._seen.cycles, self._seen.since_s = cycles, now_s

    # --- figures

    @property
    def counts(self) -> Counts:
        """Empty before it has begun."""
        return self._worker._committer.counts if self._has_begun() else Counts()

    def shards(self) -> list[int]:
        """Those that are held."""
        return sorted(self._holds())

    def lags(self) -> dict[int, int]:
        """Shard -> messages between its next offset and the end of its partition as Kafka said it last."""
        if not self._has_begun():
            return {}
        latest = self._worker._ends_watch.latest
        found = ((shard, hold, latest.get(shard)) for shard, hold in self._holds().items())
        return {
            shard: max(0, end.end_offset - hold.next_offset)
            for shard, hold, end in found
            if end is not None and end.topic_id == hold.topic_id
        }

    def at_work(self) -> dict[int, int]:
        """Shard -> sagas that are running or compensating."""
        admission = self._worker._admission._shards
        return {shard: admission[shard].at_work for shard in self._holds() if shard in admission}

    def changes_of_owner(self) -> dict[str, int]:
        """What became of shards, by what it was."""
        own = self._worker._own if self._has_begun() else None
        return {name: getattr(own, name, 0) for name in ("claims", "takeovers", "given_back", "lost")}

    def replays(self) -> dict[str, int]:
        """Turns that were compared with their replay, or were to be, by what came of it."""
        sample = self._worker._sample
        return {"compared": sample.compared, "mismatched": sample.mismatched, "skipped": sample.skipped}

    @property
    def spans_given_up(self) -> int:
        return self._worker._spans.given_up

    @property
    def live_sagas(self) -> int:
        return len(self._worker._cache)

    @property
    def steps_running(self) -> int:
        return self._worker._steps.running

    @property
    def messages_waiting(self) -> int:
        return self._worker._intake.waiting if self._has_begun() else 0

    # --- words

    def not_ready(self, now_s: float) -> Iterator[str]:
        """Why it does not do its work; nothing: it does."""
        worker = self._worker
        if worker._connection is None:
            yield "it has no database session"
        if not self._has_begun():
            yield "it has not begun"
            return
        if worker._watcher.draining:
            yield "it is being stopped"
        if still_s := self._still_s(now_s):
            yield f"its main loop has not come around for {still_s:.0f} s"
        if unread := worker._own.unread():
            yield f"it can't read its shards {', '.join(map(str, unread))}"
        elif not self._holds() and worker._watcher.plan().claims:
            yield "it has not claimed its shards yet"
        if now_s - worker._ends_watch.answered_s > KAFKA_SILENT_S:
            yield "Kafka does not answer"

    def broken(self, now_s: float, *, database_answers: bool) -> Iterator[str]:
        """Why it will never work again; nothing: it works, or will when others do."""
        if not self._has_begun() or self._worker._watcher.draining:
            return
        if database_answers and now_s - self._seen.since_s > LOOP_DEAD_S:
            yield f"its main loop has not come around for {now_s - self._seen.since_s:.0f} s, and the database answers"
        threads = (self._worker._watcher, self._worker._intake, self._worker._ends_watch)
        for thread in (one._thread for one in threads):
            if not thread.is_alive():
                yield f"its thread {thread.name} has ended"

    def _still_s(self, now_s: float) -> float:
        still_s = now_s - self._seen.since_s
        return still_s if still_s > LOOP_STILL_S else 0.0

    def _has_begun(self) -> bool:
        return getattr(self._worker, "_watcher", None) is not None

    def _holds(self) -> dict[int, Any]:
        """A copy; taken again if the main loop changed the shards in the middle of it."""
        if not self._has_begun():
            return {}
        for _ in range(_COPIES_MAX):
            with suppress(RuntimeError):
                return dict(self._worker._own.holds)
        return {}
