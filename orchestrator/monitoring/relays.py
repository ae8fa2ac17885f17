"""A relay of this process: whether it sends or stands by, and what."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from orchestrator.monitoring import figures, metrics
from orchestrator.monitoring.database_watch import DatabaseWatch
from orchestrator.monitoring.metrics import Sample
from orchestrator.monitoring.parts import outbox_samples

if TYPE_CHECKING:
    from outbox_relay import Relay

STATES = ("waiting", "starting", "polling", "streaming", "external")


class RelayPart:
    """See `parts.Part`."""

    def __init__(self, relay: "Relay", database_url: str) -> None:
        self._relay = relay
        self._watch = DatabaseWatch(database_url, figures.outbox)

    @property
    def title(self) -> str:
        return f"relay of {self._relay.database}"

    def start(self) -> None:
        self._watch.start()

    def stop(self) -> None:
        self._watch.stop()

    def tick(self, now_s: float) -> None:
        """Nothing to remember."""

    def not_ready(self, _now_s: float) -> Iterator[str]:
        yield from self._relay.not_ready()

    def broken(self, _now_s: float) -> Iterator[str]:
        return self._relay.broken()

    def samples(self) -> Iterator[Sample]:
        health, counts = self._relay.health(), self._relay.counts
        database, detail = (health.database,), health.detail
        for state in STATES:
            yield Sample(metrics.RELAY_STATE, float(state == health.state), (health.database, state))
        yield Sample(metrics.RELAY_EPOCH, health.epoch, database)
        yield Sample(metrics.ROWS_SENT, counts["sent"], database)
        yield Sample(metrics.DELIVERIES_FAILED, counts["failed"], database)
        yield Sample(metrics.ROWS_PARKED, counts["dead"], database)
        if health.state in ("polling", "streaming"):
            yield Sample(metrics.ROWS_OUT, detail.get("in_flight", 0), database)
            yield Sample(metrics.KEYS_PARKED, detail.get("parked_keys", 0), database)
            yield Sample(metrics.TOPICS_PARKED, len(detail.get("parked_topics", ())), database)
        if (retained_bytes := detail.get("wal_retained_bytes")) is not None:
            yield Sample(metrics.WAL, retained_bytes, database)
        yield from outbox_samples(self._watch.database, self._watch.figures, self._watch.failures)
