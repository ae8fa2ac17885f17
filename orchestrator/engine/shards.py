"""Which shards are ours: a watcher thread looks at who lives and says what to claim and what to give back.

Shards are shared out evenly by rendezvous hashing over the live workers, so one more or one less moves few of them.
That says who *should* own a shard; a live owner is asked and gives it back between two of its batches.
"""

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg

from orchestrator import limits
from orchestrator.engine import fence, workers
from orchestrator.engine.feed import Feed

log = logging.getLogger("orchestrator.engine.shards")

LOOK_EVERY_S = 0.1
STOP_SEEN_S = 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """What the main loop should do about ownership. `claims` are (shard, epoch seen, dead worker or None)."""

    claims: tuple[tuple[int, int, UUID | None], ...] = ()
    gifts: frozenset[int] = frozenset()  # ours, and somebody who should own them has asked


def shares(shards: Iterable[int], candidates: frozenset[UUID]) -> dict[int, UUID]:
    """Who should own what: rendezvous hashing with bounded loads. The heaviest pairs of (shard, worker) come first, and
    nobody gets more than an even share, rounded up. All workers come to the same answer by themselves.
    """
    listed = sorted(set(shards))
    most = -(-len(listed) // len(candidates)) if candidates else 0
    pairs = sorted(((_weight(shard, worker), shard, worker) for shard in listed for worker in candidates), reverse=True)
    owners: dict[int, UUID] = {}
    load = dict.fromkeys(candidates, 0)
    for _, shard, worker in pairs:
        if shard not in owners and load[worker] < most:
            owners[shard] = worker
            load[worker] += 1
    return owners


def _weight(shard: int, worker: UUID) -> bytes:
    return hashlib.blake2b(worker.bytes + shard.to_bytes(4, "big"), digest_size=8).digest()


class Watcher:
    """A thread with its own database session: it beats, it looks, and it never touches a shard's row."""

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection[Any]],
        worker: UUID,
        name: str,
        *,
        cycle: Callable[[], int],
        backends: Callable[[], list[int]],
        feed: Feed,
        planned: Callable[[], None] = lambda: None,
    ) -> None:
        self._connect, self._worker, self._name = connect, worker, name
        self._cycle, self._backends, self._planned = cycle, backends, planned
        self._feed = feed
        self._plan = Plan()
        self._stop = threading.Event()
        self._wanted_since: dict[int, float] = {}
        self._registered: list[int] = []
        self._beaten = (-1, 0.0)
        self.draining = False
        self._thread = threading.Thread(target=self._run, name="amends-watcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread; the worker's row goes with it."""
        self._stop.set()
        self._thread.join(limits.LEASE_S)

    def plan(self) -> Plan:
        """The latest plan. Acting on an old one is harmless: a claim is guarded by the epoch that was seen."""
        return self._plan

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with self._connect() as connection:
                    self._watch(connection)
                    workers.forget(connection, self._worker)
            except psycopg.Error as error:
                if not self._stop.is_set():
                    log.warning("the watcher lost its database session (%s); trying again", str(error).strip())
                    self._registered = []
                    self._plan = Plan()
                    self._stop.wait(limits.HEARTBEAT_S)

    def _watch(self, connection: psycopg.Connection[Any]) -> None:
        census = workers.Census()
        connection.execute(fence.LISTEN)
        self._feed.begin()
        while not self._stop.is_set():
            self._beat(connection)
            self._feed.follow(connection)
            alive, willing = workers.look(connection, census)
            before, self._plan = self._plan, self._make_plan(connection, alive, willing)
            if self._plan != before:
                self._planned()
            self._rest(connection)

    def _rest(self, connection: psycopg.Connection[Any]) -> None:
        """Until the next look is due, or a shard was given back, or this is to end."""
        due_s = time.monotonic() + LOOK_EVERY_S
        while not self._stop.is_set() and (left_s := due_s - time.monotonic()) > 0:
            for _ in connection.notifies(timeout=min(left_s, STOP_SEEN_S), stop_after=1):
                return

    def _beat(self, connection: psycopg.Connection[Any]) -> None:
        backends = sorted({connection.info.backend_pid, *self._backends()})
        if backends != self._registered:
            workers.register(connection, self._worker, self._name, os.getpid(), backends)
            self._registered = backends
        cycle, now = self._cycle(), time.monotonic()
        if cycle != self._beaten[0] and now - self._beaten[1] >= limits.HEARTBEAT_S / 2:
            workers.beat(connection, self._worker, cycle)
            self._beaten = (cycle, now)

    def _make_plan(self, connection: psycopg.Connection[Any], alive: frozenset[UUID], willing: frozenset[UUID]) -> Plan:
        owners, requests = fence.owners(connection), workers.requests(connection)
        rightful = shares((owner.shard for owner in owners), willing)
        claims = []
        for owner in owners:
            mine = not self.draining and rightful.get(owner.shard) == self._worker
            if not mine or owner.worker == self._worker:
                self._wanted_since.pop(owner.shard, None)
            elif owner.worker is None or owner.worker not in alive:
                claims.append((owner.shard, owner.epoch, owner.worker))
            else:
                self._ask_for(connection, owner.shard, requests)
        gifts = self._gifts(connection, owners, requests, willing)
        return Plan(tuple(claims), gifts)

    def _ask_for(self, connection: psycopg.Connection[Any], shard: int, requests: dict[int, UUID]) -> None:
        """Only after a while: two workers with two views of who lives must not throw a shard to and fro."""
        since = self._wanted_since.setdefault(shard, time.monotonic())
        if requests.get(shard) != self._worker and time.monotonic() - since > limits.REBALANCE_DEBOUNCE_S:
            workers.ask(connection, shard, self._worker)

    def _gifts(
        self,
        connection: psycopg.Connection[Any],
        owners: list[fence.Owner],
        requests: dict[int, UUID],
        willing: frozenset[UUID],
    ) -> frozenset[int]:
        ours = {owner.shard for owner in owners if owner.worker == self._worker}
        if void := [shard for shard, by in requests.items() if by == self._worker and shard in ours]:
            workers.answered(connection, void)
        return frozenset(
            shard for shard in ours & requests.keys() if requests[shard] != self._worker and requests[shard] in willing
        )
