"""The orchestrator's main loop: verbs, messages, step results and due timers; turns; ONE commit; then the steps.

All of it runs on one plain thread (Python 3.14 refuses to step a saga's loop from inside a task). Whoever else works
(the watcher, the intake, the steps) hands things over in queues and rings `_bell`.
"""

import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import uuid4

import psycopg

from orchestrator import limits
from orchestrator.core import determinism
from orchestrator.core.registry import Registry
from orchestrator.engine.admission import Admission
from orchestrator.engine.announcer import Announcer
from orchestrator.engine.batch import Batch
from orchestrator.engine.cache import Cache
from orchestrator.engine.clock import DatabaseClock
from orchestrator.engine.committer import Committer
from orchestrator.engine.ends import Ends
from orchestrator.engine.feed import Feed
from orchestrator.engine.fence import Hold
from orchestrator.engine.gathering import Gathering
from orchestrator.engine.installation import Installation, Witness, connect, read_installation
from orchestrator.engine.intake import Intake
from orchestrator.engine.outbound import Outbound
from orchestrator.engine.ownership import Ownership
from orchestrator.engine.patience import Patience
from orchestrator.engine.poison import Watchdog
from orchestrator.engine.probing import Probing
from orchestrator.engine.processing import Processing
from orchestrator.engine.recovery import Recovery, notice_restore
from orchestrator.engine.replay_sample import ReplaySample
from orchestrator.engine.shards import Watcher
from orchestrator.engine.span_export import SpanExport
from orchestrator.engine.step_starts import StepStarts
from orchestrator.engine.steps import Lifespan, StepEnd, StepRunner
from orchestrator.engine.topology import Topology
from orchestrator.engine.turns import Turns
from orchestrator.engine.wakeups import Wakeups
from orchestrator.engine.watermarks import Watermarks
from orchestrator.settings import Settings

log = logging.getLogger("orchestrator.engine")

IDLE_S = 0.05
TOPIC_LOOK_EVERY_S = 2.0
RECONNECT_FIRST_S, RECONNECT_MAX_S = 0.1, 2.0
RETRY_WHOLE = ("08", "40", "53", "57")  # SQLSTATE classes of a database that can't right now

_T = TypeVar("_T")


class Worker:
    """One orchestrator process. `run` blocks until `stop` is set, and gives its shards back before it returns."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        *,
        databases: Mapping[str, str] | None = None,
        lifespan: Lifespan | None = None,
        name: str = "",
        live_sagas_max: int = limits.LIVE_SAGAS_MAX,
    ) -> None:
        self._settings = settings
        self._id = uuid4()
        self._name = name or f"{socket.gethostname()}-{os.getpid()}"
        self._url = settings.database_url.get_secret_value()
        self._cycles, self._topic_asked_s = 0, 0.0
        self._spans = SpanExport(settings, lambda: connect(self._url, f"amends-spans-{self._id}"))
        self._bell = threading.Event()
        self._ends: deque[StepEnd] = deque()
        self._clock = DatabaseClock()
        self._registry, self._cache = registry, Cache(registry, live_sagas_max)
        self._wakeups, self._watermarks = Wakeups(), Watermarks()
        self._steps = StepRunner({"default": self._url, **(databases or {})}, self._step_ended, lifespan)
        self._step_starts = StepStarts(self._cache, self._steps, self._wakeups)
        self._probing = Probing()
        self._feed = Feed(self._id)
        self._admission = Admission(settings.sagas_at_work_max)
        self._sample = ReplaySample(
            settings.replay_every_turns,
            registry,
            self._cache.row_of,
            lambda: connect(self._url, f"amends-replay-{self._id}"),
            self._bell.set,
        )
        self._watchdog = Watchdog(self._cache.interrupt)
        self._cache.watched = self._watchdog.turn
        self._connection: psycopg.Connection[Any] | None = None
        self._witness = Witness()

    def run(self, stop: threading.Event) -> None:
        """Until `stop`. Raises DependencyError if the database was never migrated; one that is away is waited for."""
        determinism.install_guard()
        installation = self._connected(stop, self._read_installation)
        if installation is None:
            return  # It was stopped before there was a database.
        self._begin(installation)
        try:
            with self._watchdog:
                self._run_until(stop)
        finally:
            self._watcher.draining = True
            self._steps.halt()  # nothing of ours may run when somebody else has the shards; the rest can wait
            if self._connection is not None and not self._connection.closed:
                self._give_back(self._connection)
                self._connection.close()
            self._steps.close()
            for thread in (self._intake, self._ends_watch, self._watcher, self._announcer, self._spans, self._sample):
                thread.stop()
            log.info("orchestrator %s stopped after %s cycles (topic %s)", self._name, self._cycles, installation.topic)

    def _read_installation(self, connection: psycopg.Connection[Any]) -> Installation:
        self._clock.sample(connection)
        installation = read_installation(connection)
        notice_restore(connection, self._witness)
        return installation

    def _begin(self, installation: Installation) -> None:
        now_us, lead_us, login = self._clock.now_us, self._clock.lead_us, self._settings.kafka_login()
        self._topology = Topology(
            self._settings.kafka_bootstrap_servers,
            self._settings.topic_prefix,
            lambda: connect(self._url, f"amends-topics-{self._id}"),
            login,
        )
        self._outbound = Outbound(
            self._topology.topics, self._topology.partitions, installation.shards, installation.nonce_secret, now_us
        )
        turns = Turns(self._registry, self._cache, self._outbound, now_us, self._admission)
        turns.condemned = self._probing.condemned
        self._turns = turns
        self._processing = Processing(self._registry, self._cache, turns, self._outbound, now_us)
        self._intake = Intake(
            self._settings.kafka_bootstrap_servers,
            installation.topic,
            f"amends-{self._name}",
            wake=self._bell.set,
            login=login,
        )
        self._announcer = Announcer(lambda: connect(self._url, f"amends-announcer-{self._id}"))
        self._ends_watch = Ends(self._topology, wake=self._bell.set, now_us=now_us)
        self._patience = Patience(self._wakeups, self._watermarks, self._processing, self._ends_watch.ask, lead_us)
        self._recovery = Recovery(self._registry, self._outbound, self._topology.partitions)
        self._own = Ownership(
            self._id,
            self._intake,
            self._cache,
            self._wakeups,
            self._watermarks,
            self._step_starts,
            topic_id=self._topology.known_topic_id,
            claimed=self._claimed,
            recover=self._recovery.send_again,
        )
        self._gathering = Gathering(self._own, self._intake, self._patience, self._admission, self._sample, now_us)
        self._committer = Committer(
            self._processing,
            self._cache,
            self._own,
            self._topology,
            self._watchdog,
            self._after,
            lambda connection, work: self._probing.note(connection, self._own.holds, work),
            spans=self._spans.is_on,
            feed=self._feed,
        )
        self._watcher = Watcher(
            lambda: connect(self._url, f"amends-watcher-{self._id}"),
            self._id,
            self._name,
            cycle=lambda: self._cycles,
            backends=lambda: self._backends() + self._spans.backends,
            planned=self._bell.set,
            feed=self._feed,
        )
        self._steps.open()
        for thread in (self._watcher, self._intake, self._ends_watch, self._announcer, self._spans, self._sample):
            thread.start()
        log.info("orchestrator %s began: %s shards of %s", self._name, installation.shards, installation.topic)

    def _claimed(self, connection: psycopg.Connection[Any], holds: Sequence[Hold]) -> None:
        for hold in holds:
            hold.claimed_us += self._clock.lead_us()
            self._probing.claimed(hold)
        self._admission.claimed(connection, {hold.shard: hold.claimed_us for hold in holds})

    def _backends(self) -> list[int]:
        connection = self._connection
        return [] if connection is None or connection.closed else [connection.info.backend_pid]

    def _give_back(self, connection: psycopg.Connection[Any]) -> None:
        try:
            self._own.release_all(connection)
        except psycopg.Error as error:
            log.warning("the shards could not be given back (%s): others take them when they see us gone", error)

    def _step_ended(self, end: StepEnd) -> None:
        self._ends.append(end)
        self._bell.set()

    # --- the loop

    def _run_until(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._cycles += 1
            try:
                if self._connection is None:
                    self._connected(stop, self._resume)
                    continue
                self._cycle(self._connection)
            except psycopg.Error as error:
                if (error.sqlstate or "08")[:2] not in RETRY_WHOLE and not isinstance(error, psycopg.OperationalError):
                    raise
                self._lost_session(error)

    def _lost_session(self, error: psycopg.Error) -> None:
        """Whether the last COMMIT happened is not known: everything is read again under new epochs."""
        log.warning("the database session was lost (%s); all %s shards are read anew", error, len(self._own.holds))
        for hold in self._own.holds.values():
            self._witness.remember(hold.shard, hold.epoch, hold.owner, hold.batch_no)
        self._own.lose(set(self._own.holds))
        self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _resume(self, connection: psycopg.Connection[Any]) -> None:
        notice_restore(connection, self._witness)
        self._own.reclaim(connection)

    def _connected(self, stop: threading.Event, first: Callable[[psycopg.Connection[Any]], _T]) -> _T | None:
        """Wait for the database until `stop`, and return what is done first with the new session."""
        delay_s = RECONNECT_FIRST_S
        while not stop.is_set():
            self._cycles += 1
            try:
                self._connection = connect(self._url, f"amends-main-{self._id}")
                return first(self._connection)
            except psycopg.OperationalError as error:
                self._disconnect()  # a session that was lost by what came first, or there is none
                log.warning("no database (%s); again in %.1f s", str(error).strip(), delay_s)
                stop.wait(delay_s)
                delay_s = min(delay_s * 2, RECONNECT_MAX_S)
        return None

    def _cycle(self, connection: psycopg.Connection[Any]) -> None:
        self._clock.sample(connection)
        plan = self._watcher.plan()
        self._feed.adopt()  # after the plan was taken: what it gives us is told from its first batch on
        self._own.follow(connection, plan)
        if plan.claims:
            self._feed.took_shards()
        self._hear_intake(connection)
        found = self._step_starts.begin_found(connection)
        if work := self._gathering.gather(connection, self._ends):
            for portion in self._probing.portions(work):
                self._committer.commit(connection, portion)
                for one in portion:
                    if isinstance(one, StepEnd):
                        self._steps.kept(one.key)
            self._cache.evict()
        elif not found and not self._intake.waiting and not self._ends:
            self._idle()

    def _idle(self) -> None:
        next_us = self._wakeups.next_us()
        wait_s = IDLE_S if next_us is None else (next_us - self._clock.now_us()) / 1e6
        self._bell.wait(min(max(wait_s, 0.001), IDLE_S))
        self._bell.clear()

    def _hear_intake(self, connection: psycopg.Connection[Any]) -> None:
        for end in self._ends_watch.news():
            hold = self._own.holds.get(end.shard)
            if hold is not None and end.topic_id != hold.topic_id:
                # Made anew under us: it would skip messages for ever, and silently.
                self._own.reclaim_one(connection, end.shard)
            elif hold is not None:
                self._watermarks.observed(end.shard, end.end_offset, end.asked_us)
                self._watermarks.reached(end.shard, hold.next_offset)
        for lost in self._intake.news():
            hold = self._own.holds.get(lost.shard)
            if hold is not None and hold.epoch == lost.epoch:
                if lost.low is None:
                    self._own.reclaim_one(connection, lost.shard)
                else:
                    self._own.start_over(connection, lost.shard, lost.low)
        if time.monotonic() - self._topic_asked_s >= TOPIC_LOOK_EVERY_S and self._own.holds:
            # Not only when a timer is due: who waits for a message alone has none.
            self._topic_asked_s = time.monotonic()
            self._ends_watch.ask(sorted(self._own.holds))

    def _after(self, batch: Batch) -> None:
        for shard, writes in batch.shards.items():
            self._watermarks.reached(shard, self._own.holds[shard].next_offset)
            self._admission.committed(shard, writes.at_work)
            for saga_no, (saga_id, wake_us) in writes.wakes.items():
                self._wakeups.set(saga_no, saga_id, shard, wake_us)
            for saga_id, step in writes.steps:
                self._step_starts.begin(saga_id, step)
        self._sample.committed(batch)
        ended = self._turns.take_ended()
        for saga_id in ended:
            self._cache.drop(saga_id)
        self._announcer.tell(ended)
