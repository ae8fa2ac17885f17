"""Exports what the span queue holds, on a thread and a session of its own: a slow collector holds up nobody, and it
takes a small share of a CPU, however much there is to tell.

A row leaves the queue only after the collector has accepted its spans. So a killed orchestrator loses none: another
one, or its successor, finds the row and derives the same spans again. Any of them exports any shard, one at a time.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import psycopg

from orchestrator import limits
from orchestrator.engine import span_queue
from orchestrator.engine.spans import Spans
from orchestrator.failpoints import failpoint
from orchestrator.settings import Settings
from orchestrator.tracing.spans import Span

Went = Literal["sent", "nothing", "refused"]

log = logging.getLogger("orchestrator.engine.spans")

POLL_S = 0.5
RETRY_FIRST_S, RETRY_MAX_S = 0.5, 30.0
DRAIN_S = 3.0  # at a planned stop: what is left then is the next orchestrator's
ROWS_MAX = 50  # of a shard's queue, read at once
SHARDS_AT_ONCE = 8  # are locked, read and sent together; the others are free for other exporters meanwhile


class Sender(Protocol):
    """What is needed of `otlp.OtlpSender`."""

    def send(self, spans: Sequence[Span]) -> bool: ...
    def close(self) -> None: ...


class SpanExport:
    """The thread. `connect` opens a session in autocommit mode. Without an endpoint there is nothing to do."""

    def __init__(self, settings: Settings, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self._connect, self._endpoint = connect, settings.otel_exporter_otlp_endpoint
        self._spans = Spans(settings.topic_prefix)
        # One only, after a refusal: what the collector does not take of one shard must not hold up the others.
        self._at_once = SHARDS_AT_ONCE
        self.given_up = 0  # batches whose spans nobody will see, for people
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="amends spans", daemon=True)
        self._connection: psycopg.Connection[Any] | None = None

    @property
    def is_on(self) -> bool:
        """Whether turns are to be queued at all."""
        return self._endpoint is not None

    @property
    def backends(self) -> list[int]:
        """The session that holds our locks: whoever takes our shards over ends it."""
        connection = self._connection
        return [] if connection is None or connection.closed else [connection.info.backend_pid]

    def start(self) -> None:
        """Begin, if there is somebody to export to."""
        if self.is_on:
            self._thread.start()

    def stop(self) -> None:
        """Export what is there, for DRAIN_S at most, and end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(DRAIN_S + limits.SPAN_SEND_TIMEOUT_S + 1)

    # --- the thread

    def _run(self) -> None:
        assert self._endpoint is not None
        try:
            from orchestrator.engine.otlp import OtlpSender  # the SDK, only where spans are exported

            sender = OtlpSender(self._endpoint)
        except Exception:
            log.exception("no spans are exported by this process; the queue keeps them for others")
            return
        try:
            self._export_until_stopped(sender)
        finally:
            sender.close()
            self._drop_connection()

    def _export_until_stopped(self, sender: Sender) -> None:
        delay_s = RETRY_FIRST_S
        while not self._stopping.is_set():
            if self._round(sender):
                delay_s = RETRY_FIRST_S
                self._stopping.wait(POLL_S)
            else:
                self._stopping.wait(delay_s)
                delay_s = min(delay_s * 2, RETRY_MAX_S)
        self._round(sender, until_s=time.monotonic() + DRAIN_S)

    def _round(self, sender: Sender, until_s: float | None = None) -> bool:
        """Some of each shard in turn, until nothing waits. False: the database or the collector does not answer."""
        try:
            if self._connection is None or self._connection.closed:
                self._spans.forget()
                self._connection = self._connect()
            while waiting := span_queue.waiting(self._connection):
                went = self._some_of_each(self._connection, sender, waiting, until_s)
                self._at_once = 1 if "refused" in went else SHARDS_AT_ONCE
                if "refused" in went:
                    return False
                if "sent" not in went or self._is_over(until_s):
                    break  # What is left is in somebody else's hands, or the next orchestrator's.
            return True
        except psycopg.Error as error:
            log.warning("spans wait for the database: %s", str(error).strip())
            self._drop_connection()
            return False

    def _is_over(self, until_s: float | None) -> bool:
        return self._stopping.is_set() if until_s is None else time.monotonic() > until_s

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _some_of_each(
        self,
        connection: psycopg.Connection[Any],
        sender: Sender,
        waiting: Sequence[span_queue.Waiting],
        until_s: float | None,
    ) -> set[Went]:
        """As much as is told at once, of a few shards, then of the next: none waits for the end of another's queue."""
        all_went: set[Went] = set()
        while waiting and not self._is_over(until_s):
            began_s, began_cpu_s = time.monotonic(), time.thread_time()
            went, reached = self._some(connection, sender, waiting[: self._at_once])
            all_went.add(went)
            waiting = waiting[reached:]
            if until_s is None:
                self._stopping.wait(_pause_s(time.thread_time() - began_cpu_s, time.monotonic() - began_s))
        return all_went

    def _some(
        self, connection: psycopg.Connection[Any], sender: Sender, waiting: Sequence[span_queue.Waiting]
    ) -> tuple[Went, int]:
        """The oldest of these shards, and how many of them had their turn: one at least."""
        ours = span_queue.try_lock(connection, [one.shard for one in waiting])
        if not ours:
            return "nothing", len(waiting)  # Somebody else is at them.
        try:
            rows = span_queue.heads(connection, ours, ROWS_MAX, limits.SPAN_TURNS_MAX)
            if not rows:
                return "nothing", len(waiting)
            reached = sum(one.shard <= rows[-1].shard for one in waiting)
            if not sender.send(self._spans.of(connection, rows)):
                self._refused(connection, [one for one in waiting[:reached] if one.shard in ours])
                return "refused", reached
            failpoint("engine.spans.sent")
            span_queue.remove(connection, rows)
            failpoint("engine.spans.removed")
        finally:
            if not connection.closed:
                span_queue.unlock(connection, ours)
        return "sent", reached

    def _refused(self, connection: psycopg.Connection[Any], waiting: list[span_queue.Waiting]) -> None:
        """They stay in the queue, up to a limit, and are derived again the next time."""
        shards, count = ", ".join(str(one.shard) for one in waiting), sum(one.count for one in waiting)
        log.warning("the collector did not take the spans of shards %s; about %s batches wait", shards, count)
        for one in waiting:
            if one.count > limits.SPAN_BATCHES_WAITING_MAX:
                gone = span_queue.shed(connection, one.shard, one.last - limits.SPAN_BATCHES_WAITING_MAX)
                self.given_up += gone
                log.error(
                    "shard %s: the spans of %s batches were given up, for more than %s were waiting for the collector",
                    one.shard,
                    gone,
                    limits.SPAN_BATCHES_WAITING_MAX,
                )


def _pause_s(used_s: float, elapsed_s: float) -> float:
    """How long to pause after so much CPU in so much time: what was waited for others is part of it."""
    return max(used_s / limits.SPAN_CPU_SHARE_MAX - elapsed_s, 0.0)
