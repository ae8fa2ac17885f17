"""What the composition root holds: the listener of this process, and what it watches. Without a port it is nothing."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from orchestrator.monitoring.listener import Answer, Listener, json_answer

if TYPE_CHECKING:
    from orchestrator.engine.worker import Worker
    from orchestrator.monitoring.exposition import Exposition
    from orchestrator.monitoring.participants import KafkaProbe
    from orchestrator.monitoring.parts import Part
    from orchestrator.participant.runner import Runner
    from orchestrator.settings import Settings
    from outbox_relay import Relay


class Monitor(AbstractContextManager["Monitor"]):
    """Listens while it is entered. Parts are added when they are made, each before it begins."""

    def __init__(self, settings: "Settings") -> None:
        self._settings = settings
        self._parts: list[Part] = []
        self._probes: list[KafkaProbe] = []
        self._exposition: Exposition | None = None
        self._listener: Listener | None = None

    def __enter__(self) -> Self:
        """Raises DependencyError if the port can't be had."""
        if self._settings.metrics_port:
            from orchestrator.monitoring.exposition import Exposition

            pages = {"/metrics": self._metrics, "/health": self._health, "/ready": self._ready}
            self._exposition = Exposition(self._parts, self._is_ready)
            self._listener = Listener(self._settings.metrics_host, self._settings.metrics_port, pages, self._tick)
            self._listener.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for part in self._parts:
            part.stop()
        for probe in self._probes:
            probe.stop()
        if self._listener is not None:
            self._listener.stop()

    # --- what is watched; on any thread

    def watch_worker(self, worker: "Worker") -> None:
        """An orchestrator that is about to run."""
        if self._listener is None:
            return
        from orchestrator.engine.vitals import Vitals
        from orchestrator.monitoring.orchestrators import OrchestratorPart

        self._add(OrchestratorPart(Vitals(worker), self._settings.database_url.get_secret_value()))

    def watch_participants(self, runners: "Sequence[Runner]") -> None:
        """Participants that are about to run, on the event loop that runs now."""
        if self._listener is None:
            return
        from orchestrator.messaging.kafka_admin import Admin
        from orchestrator.monitoring.participants import KafkaProbe, ParticipantPart

        kafka, login = self._settings.kafka_bootstrap_servers, self._settings.kafka_login()
        topics = sorted({topic for runner in runners for topic in runner.topics})
        probe = KafkaProbe(topics, lambda: Admin(kafka, login))
        self._probes.append(probe)
        probe.start()
        for runner in runners:
            self._add(ParticipantPart(runner, self._settings.database_url.get_secret_value(), probe))

    def watch_relays(self, relays: "Sequence[tuple[Relay, str]]") -> None:
        """Relays that are about to run, each with the URL of its database."""
        if self._listener is None:
            return
        from orchestrator.monitoring.relays import RelayPart

        for relay, url in relays:
            self._add(RelayPart(relay, url))

    def _add(self, part: "Part") -> None:
        part.start()
        self._parts.append(part)

    # --- pages; on the listener's thread

    def _tick(self) -> None:
        now_s = time.monotonic()
        for part in list(self._parts):
            part.tick(now_s)

    def _metrics(self, accept: str) -> Answer:
        assert self._exposition is not None
        content_type, body = self._exposition.render(accept)
        return Answer(200, body, content_type)

    def _health(self, _accept: str) -> Answer:
        now_s = time.monotonic()
        reasons = {part.title: why for part in list(self._parts) if (why := list(part.broken(now_s)))}
        return _judged(reasons, "broken")

    def _ready(self, _accept: str) -> Answer:
        return _judged(self._not_ready(), "not ready")

    def _not_ready(self) -> dict[str, list[str]]:
        now_s = time.monotonic()
        if not self._parts:
            return {"process": ["nothing of it has begun"]}
        return {part.title: why for part in list(self._parts) if (why := list(part.not_ready(now_s)))}

    def _is_ready(self) -> bool:
        return not self._not_ready()


def _judged(reasons: dict[str, list[str]], otherwise: str) -> Answer:
    content: dict[str, Any] = {"status": otherwise if reasons else "ok", "reasons": reasons}
    return json_answer(503 if reasons else 200, content)
