"""The orchestrator of this process: its own counts, and its own shards' sagas.

Each orchestrator counts the sagas of the shards that it holds, and Prometheus adds them up: nobody has to be elected to
count for all, no saga is counted twice, and the work is shared out with the shards.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

from orchestrator.engine.counts import COMMIT_BOUNDS_S
from orchestrator.engine.vitals import Vitals
from orchestrator.monitoring import figures, metrics
from orchestrator.monitoring.database_watch import DatabaseWatch
from orchestrator.monitoring.metrics import Distribution, Sample
from orchestrator.monitoring.parts import outbox_samples


@dataclass(frozen=True, slots=True)
class _Figures:
    shards: dict[int, figures.Shard]
    outbox: figures.Outbox


class OrchestratorPart:
    """See `parts.Part`."""

    def __init__(self, vitals: Vitals, database_url: str) -> None:
        self._vitals = vitals
        self._watch = DatabaseWatch(database_url, self._read)

    def _read(self, connection: psycopg.Connection[Any]) -> _Figures:
        outbox = figures.outbox(connection)
        return _Figures(figures.shards(connection, self._vitals.at_work()), outbox)

    @property
    def title(self) -> str:
        return f"orchestrator {self._vitals.name}"

    def start(self) -> None:
        self._watch.start()

    def stop(self) -> None:
        self._watch.stop()

    def tick(self, now_s: float) -> None:
        self._vitals.tick(now_s)

    def not_ready(self, now_s: float) -> Iterator[str]:
        yield from self._vitals.not_ready(now_s)
        if not self._watch.answers(now_s):
            yield "Postgres does not answer"

    def broken(self, now_s: float) -> Iterator[str]:
        return self._vitals.broken(now_s, database_answers=self._watch.answers(now_s))

    def samples(self) -> Iterator[Sample | Distribution]:
        yield from self._counted()
        yield from self._owned()
        vitals = self._vitals
        replays = vitals.replays()
        yield Sample(metrics.COMPARED, replays["compared"])
        yield Sample(metrics.MISMATCHES, replays["mismatched"])
        yield Sample(metrics.SKIPPED, replays["skipped"])
        yield Sample(metrics.SPANS_DROPPED, vitals.spans_given_up)
        yield Sample(metrics.LIVE, vitals.live_sagas)
        yield Sample(metrics.STEPS, vitals.steps_running)
        yield Sample(metrics.WAITING, vitals.messages_waiting)
        found = self._watch.figures
        yield from outbox_samples(self._watch.database, found.outbox if found else None, self._watch.failures)

    def _counted(self) -> Iterator[Sample | Distribution]:
        counts = self._vitals.counts
        yield Sample(metrics.BATCHES, counts.batches)
        yield Sample(metrics.TURNS, counts.turns)
        yield Distribution(metrics.COMMITS, COMMIT_BOUNDS_S, tuple(counts.commits), counts.commits_s)
        yield Sample(metrics.BEGUN, counts.begun)
        for outcome, count in counts.ended.items():
            yield Sample(metrics.ENDED, count, (outcome,))
        yield Sample(metrics.IGNORED, counts.ignored)
        yield Sample(metrics.FORGED, counts.forged)
        yield Sample(metrics.DEAD_LETTERS, counts.dead_letters)

    def _owned(self) -> Iterator[Sample]:
        held = self._vitals.shards()
        yield Sample(metrics.SHARDS, len(held))
        changes = self._vitals.changes_of_owner()
        yield Sample(metrics.CLAIMS, changes["claims"])
        yield Sample(metrics.TAKEOVERS, changes["takeovers"])
        yield Sample(metrics.HANDOVERS, changes["given_back"])
        yield Sample(metrics.SHARDS_LOST, changes["lost"])
        for shard, messages in self._vitals.lags().items():
            yield Sample(metrics.LAG, messages, (str(shard),))
        if (found := self._watch.figures) is not None:
            # What has been given away since the look is somebody else's to count.
            ours = [found.shards[shard] for shard in held if shard in found.shards]
            for status in ("at_work", "queued", "stuck", "blocked"):
                counts = [getattr(shard, status) for shard in ours]
                if None not in counts:
                    yield Sample(metrics.OPEN, sum(counts), (status,))
