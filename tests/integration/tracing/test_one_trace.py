"""A saga, its participants and the relay, all real: one trace from the root to the undo's handler."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.deadlines import deadline, eventually
from tests.integration.tracing.collector import Collector

ROOT = Path(__file__).parents[3]


@pytest.fixture
def database_template() -> None:
    """An empty database: the app migrates it itself."""
    return


def test_one_trace(
    database_url: str, kafka_bootstrap_servers: str, topic_prefix: str, collecting: tuple[Collector, str]
) -> None:
    collector, endpoint = collecting
    environment = {
        "DATABASE_URL": database_url,
        "KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap_servers,
        "AMENDS_TOPIC_PREFIX": topic_prefix,
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
    }
    command = [sys.executable, "-m", "tests.integration.tracing.traced_app"]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=True, timeout=deadline(90))

    wanted = {
        "saga traced_checkout",
        "call Reserve",
        "call Charge",
        "undo Reserve",
        "process Reserve",
        "process Charge",
    }

    eventually(lambda: wanted <= collector.names(), 10, f"{sorted(wanted)} at the collector")
    root = collector.one("saga traced_checkout")
    call, undo = (
        _one(collector, "call Reserve", "amends-orchestrator"),
        _one(collector, "undo Reserve", "amends-orchestrator"),
    )
    handled, undoing = _one(collector, "process Reserve", "amends-dev"), _one(collector, "undo Reserve", "amends-dev")
    assert {span.trace_id for span in collector.spans.values()} == {root.trace_id}
    assert {call.parent_span_id, undo.parent_span_id} == {root.span_id}
    assert (handled.parent_span_id, undoing.parent_span_id) == (call.span_id, undo.span_id)
    assert [link.span_id for link in undo.links] == [link.span_id for link in undoing.links] == [call.span_id]
    assert root.status.code == 2


def _one(collector: Collector, name: str, service: str) -> Span:
    found = [s for span_id, s in collector.spans.items() if s.name == name and collector.services[span_id] == service]
    assert len(found) == 1, (name, service, [(s.name, collector.services[i]) for i, s in collector.spans.items()])
    return found[0]
