"""A portion of work to its commit: turns into a batch, the batch into one transaction, and what to do when that fails.

Postgres may refuse (a shard was lost, a value it never takes, a start that it could not show us yet). A session that
breaks is the main loop's to deal with: then it is not known whether the COMMIT happened.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

import psycopg

from orchestrator import limits
from orchestrator.engine import batch as batches
from orchestrator.engine import fence
from orchestrator.engine.batch import Batch
from orchestrator.engine.cache import Cache
from orchestrator.engine.counts import Counts
from orchestrator.engine.feed import Feed
from orchestrator.engine.ownership import Ownership
from orchestrator.engine.poison import POISON_CLASSES, Watchdog, singly
from orchestrator.engine.processing import Known, Processing, Work
from orchestrator.engine.slow_turns import SlowTurns
from orchestrator.engine.topology import Topology

log = logging.getLogger("orchestrator.engine.committer")

STARTS_SEEN_MAX = 5  # how often a portion is read again because a start was not visible yet


class Committer:
    """`committed` is called with each batch that was written: what may begin only now begins there."""

    def __init__(
        self,
        processing: Processing,
        cache: Cache,
        own: Ownership,
        topology: Topology,
        watchdog: Watchdog,
        committed: Callable[[Batch], None],
        note: Callable[[psycopg.Connection[Any], list[Work]], None],
        *,
        spans: bool,
        feed: Feed,
    ) -> None:
        """`note` is told whose turns come before they run."""
        self._processing, self._cache, self._own, self._topology = processing, cache, own, topology
        self._watchdog, self._committed, self._note, self._spans = watchdog, committed, note, spans
        self._slow_turns, self._feed = SlowTurns(cache), feed
        self.counts = Counts()

    def commit(self, connection: psycopg.Connection[Any], work: list[Work]) -> None:
        """All of it, in one transaction if it is not too large and not too many have to be replayed for it."""
        refused = 0
        while work:
            portion = work[: self._processing.replays_end(work)]
            self._note(connection, portion)
            known = self._processing.prepare(connection, portion)
            try:
                written = self._process_and_write(connection, portion, known)
            except psycopg.errors.UniqueViolation:
                # A start came through Kafka before its caller's COMMIT was visible here: now it is, read again.
                refused += 1
                if refused == STARTS_SEEN_MAX:
                    raise
                self._forget(portion)
            else:
                work = work[written:]

    def _process_and_write(self, connection: psycopg.Connection[Any], work: list[Work], known: Known) -> int:
        """One transaction; how many of the items are through."""
        batch, written = Batch(), 0
        for one in work:
            began_s = self._watchdog.clock()
            with self._watchdog.turn(one.saga_id or ""):
                self._processing.process(batch, one, known, connection)
            self._slow_turns.took(one.saga_id, self._watchdog.clock() - began_s)
            written += 1
            if batch.bytes >= limits.BATCH_BYTES_MAX:
                break
        work = work[:written]
        try:
            self._write(connection, batch)
        except psycopg.Error as error:
            if _is_unseen_start(error) or (error.sqlstate or "")[:2] not in POISON_CLASSES or connection.broken:
                raise
            log.warning("the database refuses a value (%s): finding the saga that holds it", str(error).strip())
            self._forget(work)
            singly(
                work,
                lambda one: self._commit_one(connection, one),
                lambda one, refusal: self._isolate(connection, one, refusal),
            )
        return written

    def _forget(self, work: list[Work]) -> None:
        """Their coroutines are ahead of the journal: the next look replays them."""
        for one in work:
            self._cache.drop(one.saga_id or "")

    def _commit_one(self, connection: psycopg.Connection[Any], one: Work) -> None:
        for left in reversed(range(STARTS_SEEN_MAX)):
            batch = Batch()
            self._processing.process(batch, one, self._processing.prepare(connection, [one]), connection)
            try:
                self._write(connection, batch)
            except psycopg.errors.UniqueViolation as error:
                if not left or not _is_unseen_start(error):
                    raise
                self._forget([one])
            else:
                return

    def _isolate(self, connection: psycopg.Connection[Any], one: Work, error: psycopg.Error) -> None:
        """The culprit: its saga is quarantined in a transaction of its own, and the others go on."""
        self._cache.drop(one.saga_id or "")
        self._processing.prepare(connection, [one])
        batch = Batch()
        self._processing.isolate(batch, one, error)
        self._write(connection, batch)

    def _write(self, connection: psycopg.Connection[Any], batch: Batch) -> None:
        """Commit, without the shards that turn out to be lost; then what may begin only now."""
        while batch.shards:
            if missing := batch.shards.keys() - self._own.holds.keys():
                batch.drop(missing)
                self._cache.drop_shards(frozenset(missing))  # fed, and not written
                continue
            began_s = time.monotonic()
            try:
                batches.commit(
                    connection,
                    batch,
                    self._own.holds,
                    self._topology.partitions,
                    spans=self._spans,
                    fed=self._feed.is_on,
                )
            except fence.ShardsLost as lost:
                gone = frozenset(batch.shards) - lost.held
                log.warning("shards %s were lost: what they were doing is dropped here", sorted(gone))
                batch.drop(gone)
                self._own.lose(gone)
                continue
            self.counts.committed(batch, time.monotonic() - began_s)
            self._committed(batch)
            return


def _is_unseen_start(error: psycopg.Error) -> bool:
    """Its row was not visible when it was looked for. Any other doubling is a value that can't be kept."""
    return isinstance(error, psycopg.errors.UniqueViolation) and error.diag.constraint_name == "sagas_id_key"
