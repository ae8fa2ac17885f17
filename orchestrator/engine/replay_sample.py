"""One turn in so many is compared in production too (rule 18): its saga is replayed after the commit, beside the work.

Code that is not deterministic shows itself at the next load otherwise, which may be weeks away: a saga that was never
evicted has never been replayed. The thread has a database session of its own, takes a small share of a CPU however much
there is to compare, and lets go what it can't keep up with. Whoever it finds is quarantined by the main loop.
"""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

from orchestrator import limits
from orchestrator.core import determinism
from orchestrator.core.blocked import Blocked
from orchestrator.core.entries import Json
from orchestrator.core.registry import Registry
from orchestrator.core.replay import replay
from orchestrator.engine import journal
from orchestrator.engine.batch import Batch
from orchestrator.engine.sagas import SagaRow
from orchestrator.problems import Problem

log = logging.getLogger("orchestrator.engine.replay_sample")

SLICE_S = 0.005  # of CPU, between two pauses: the interpreter is shared with the main loop
RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A saga whose journal its own process does not repeat."""

    saga_no: int
    saga_id: str
    shard: int
    problem: Problem


class _Stopped(Exception):
    """The process ends in the middle of a replay."""


class ReplaySample:
    """`committed` and `take` are the main loop's; the thread compares. `every` 0: nothing is ever compared."""

    def __init__(
        self,
        every: int,
        registry: Registry,
        row_of: Callable[[str], SagaRow | None],
        connect: Callable[[], psycopg.Connection[Any]],
        wake: Callable[[], None],
    ) -> None:
        self._every, self._skip = every, every - 1
        self._registry, self._row_of, self._connect, self._wake = registry, row_of, connect, wake
        self._waiting: queue.Queue[SagaRow | None] = queue.Queue(limits.REPLAYS_WAITING_MAX)
        self._found: deque[Mismatch] = deque()
        self.compared = self.mismatched = self.skipped = 0  # for people, since the process began
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="amends-replay", daemon=True)

    def start(self) -> None:
        if self._every:
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if not self._waiting.full():
            self._waiting.put_nowait(None)  # wakes the thread; if it has enough to do it looks at the event
        if self._thread.is_alive():
            self._thread.join(limits.LEASE_S)

    def committed(self, batch: Batch) -> None:
        """Take the sagas of the turns whose turn it is, if the thread keeps up."""
        if not self._every:
            return
        for writes in batch.shards.values():
            for turn in writes.turns[self._skip :: self._every]:
                saga_id, _ = writes.wakes[turn.saga_no]
                row = self._row_of(saga_id)
                if row is None or self._waiting.full():
                    self.skipped += 1
                else:
                    self._waiting.put_nowait(row)
            self._skip = (self._skip - len(writes.turns)) % self._every

    def take(self) -> list[Mismatch]:
        """Who was found since the last call."""
        return [self._found.popleft() for _ in range(len(self._found))]

    # --- the thread

    def _run(self) -> None:
        determinism.install_guard()
        while not self._stop.is_set():
            try:
                with self._connect() as connection:
                    self._compare_all(connection)
            except psycopg.Error as error:
                log.warning("no turn is compared with its replay for a while (%s)", str(error).strip())
                self._stop.wait(RETRY_S)
            except _Stopped:
                return

    def _compare_all(self, connection: psycopg.Connection[Any]) -> None:
        while not self._stop.is_set():
            row = self._waiting.get()
            if row is None:
                return
            saga_type = self._registry.get(row.type, row.version)
            turns = journal.read(connection, [row.saga_no])[row.saga_no]
            if saga_type is None or not turns:
                continue
            self.compared += 1
            try:
                replay(saga_type, row.identity, self._paced(turns)).evict()
            except Blocked as blocked:
                text, fields = blocked.problem.text, row.identity.log_fields
                log.error("%s", text, extra=fields)  # noqa: TRY400  # a report, whose traceback is our own
                self.mismatched += 1
                self._found.append(Mismatch(row.saga_no, row.id, row.shard, blocked.problem))
                self._wake()

    def _paced(self, turns: Iterable[list[Json]]) -> Iterator[list[Json]]:
        began_s = time.thread_time()
        for turn in turns:
            yield turn
            used_s = time.thread_time() - began_s
            if used_s > SLICE_S:
                self._stop.wait(used_s / limits.REPLAY_CPU_SHARE_MAX - used_s)
                began_s = time.thread_time()
            if self._stop.is_set():
                raise _Stopped
        # Many short journals are as much work as a long one.
        self._stop.wait((time.thread_time() - began_s) / limits.REPLAY_CPU_SHARE_MAX)
