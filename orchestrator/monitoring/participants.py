"""A participant of this process: what it answered, its calls and breakers, its inbox."""

import asyncio
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import psycopg

from orchestrator.errors import DependencyError
from orchestrator.messaging.kafka_admin import Admin
from orchestrator.monitoring import figures, metrics
from orchestrator.monitoring.database_watch import DatabaseWatch
from orchestrator.monitoring.metrics import Sample
from orchestrator.monitoring.parts import outbox_samples
from orchestrator.participant.breaker import BreakerState

if TYPE_CHECKING:
    from orchestrator.participant.runner import Runner

log = logging.getLogger("orchestrator.monitoring")

LOOP_LATE_S = 10.0  # the event loop has not come around: a handler blocks it, and nothing is consumed
LOOP_DEAD_S = 60.0
KAFKA_ASK_S = 3.0
KAFKA_SILENT_S = 8.0


@dataclass(frozen=True, slots=True)
class _Figures:
    inbox: figures.Inbox
    outbox: figures.Outbox


class KafkaProbe:
    """Asks Kafka for a topic now and then: a consumer that gets nothing does not know whether there is nothing."""

    def __init__(self, topics: Sequence[str], make_admin: Callable[[], Admin]) -> None:
        self._topics, self._make_admin = topics, make_admin
        self.answered_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="amends-kafka-probe", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        admin = self._make_admin()
        while not self._stop.is_set():
            try:
                admin.partitions(self._topics)
                self.answered_s = time.monotonic()
            except DependencyError as error:
                log.info("Kafka does not answer: %s", error)
                admin = self._make_admin()  # One that met a frozen broker was seen to hear nothing of it for minutes.
            self._stop.wait(KAFKA_ASK_S)


class ParticipantPart:
    """See `parts.Part`. To be made on the event loop that the runner has."""

    def __init__(self, runner: "Runner", database_url: str, probe: KafkaProbe) -> None:
        self._runner, self._probe = runner, probe
        self._watch = DatabaseWatch(database_url, self._read)
        self._loop = asyncio.get_running_loop()
        self._heard_s = time.monotonic()

    def _read(self, connection: psycopg.Connection[Any]) -> _Figures:
        return _Figures(figures.inbox(connection, self._runner.name), figures.outbox(connection))

    @property
    def title(self) -> str:
        return f"participant {self._runner.name}"

    def start(self) -> None:
        self._watch.start()

    def stop(self) -> None:
        self._watch.stop()

    def tick(self, now_s: float) -> None:
        """Ask the event loop for a sign of life."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._hear, now_s)

    def _hear(self, asked_s: float) -> None:
        self._heard_s = asked_s

    def not_ready(self, now_s: float) -> Iterator[str]:
        if (trouble := self._runner.trouble) is not None:
            yield trouble
        if now_s - self._heard_s > LOOP_LATE_S:
            yield f"its event loop has not come around for {now_s - self._heard_s:.0f} s: does a handler block it?"
        if not self._watch.answers(now_s):
            yield "Postgres does not answer"
        if now_s - self._probe.answered_s > KAFKA_SILENT_S:
            yield "Kafka does not answer"

    def broken(self, now_s: float) -> Iterator[str]:
        if now_s - self._heard_s > LOOP_DEAD_S:
            yield f"its event loop has not come around for {now_s - self._heard_s:.0f} s: a handler blocks it"

    def samples(self) -> Iterator[Sample]:
        name, counts = self._runner.name, self._runner.counts
        yield Sample(metrics.P_BATCHES, counts.batches, (name,))
        for result, count in counts.commands.items():
            yield Sample(metrics.COMMANDS, count, (name, result))
        for result, count in counts.undos.items():
            yield Sample(metrics.UNDOS, count, (name, result))
        for outcome, count in list(counts.calls.items()):
            yield Sample(metrics.CALLS, count, (name, re.sub(r"(?<!^)(?=[A-Z])", "_", outcome).lower()))
        yield from self._outside(name)
        found = self._watch.figures
        if found is not None:
            yield Sample(metrics.INBOX_DUE, found.inbox.due, (name,))
            yield Sample(metrics.IN_DOUBT, found.inbox.in_doubt, (name,))
            yield Sample(metrics.EVENTS_PARKED, found.inbox.events_parked, (name,))
            yield Sample(metrics.INBOX_DEAD, found.inbox.dead, (name,))
        yield from outbox_samples(self._watch.database, found.outbox if found else None, self._watch.failures)

    def _outside(self, name: str) -> Iterator[Sample]:
        process = self._runner.process
        if process is None:
            return
        yield Sample(metrics.CALLS_OUT, process.calls_in_flight, (name,))
        yield Sample(metrics.CALLS_WAITING, process.calls_waiting, (name,))
        for breaker, now in process.breaker_states().items():
            for state in get_args(BreakerState):
                yield Sample(metrics.BREAKER, float(state == now), (name, breaker, state))
