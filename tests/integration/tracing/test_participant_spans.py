"""A handling hangs below the saga's operation, what it calls below the handling: in a real process, over real HTTP."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from orchestrator import telemetry
from orchestrator.tracing import ids
from tests.deadlines import deadline
from tests.integration.tracing.collector import Collector

ROOT = Path(__file__).parents[3]
UID = "5f0f0cde-0000-4000-8000-000000000007"


@pytest.fixture
def called() -> Iterator[tuple[str, list[str]]]:
    """An HTTP service, and the traceparents that it was sent."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            seen.append(self.headers["traceparent"])
            self.send_response(402)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", seen
    server.shutdown()
    server.server_close()
    thread.join(5)


def test_one_trace_from_the_saga_to_the_gateway(
    collecting: tuple[Collector, str], called: tuple[str, list[str]]
) -> None:
    collector, endpoint = collecting
    url, seen = called
    header = ids.header(UID, None, "3")
    subprocess.run(
        [sys.executable, "-m", "tests.integration.tracing.participant_process", endpoint, url, header],
        cwd=ROOT,
        check=True,
        timeout=deadline(60),
    )
    handling, request, undo = (collector.one(n) for n in ("process ChargeCard", "POST /charges", "undo ChargeCard"))
    assert {span.trace_id.hex() for span in (handling, request, undo)} == {ids.trace_id(UID, None)}
    assert handling.parent_span_id.hex() == ids.span_id(UID, "3")
    assert request.parent_span_id == handling.span_id
    assert seen == [f"00-{request.trace_id.hex()}-{request.span_id.hex()}-01"]
    assert [link.span_id.hex() for link in undo.links] == [ids.span_id(UID, "3")]
    assert "4111" not in str(request)
    assert (request.status.code, undo.status.code) == (2, 0)  # A Failure is an answer; a 402 is the caller's error.
    assert set(collector.services.values()) == {"payments"}


def test_without_an_endpoint_nothing_is_loaded() -> None:
    telemetry.setup("payments", None)()
    code = (
        "import sys; from orchestrator import telemetry; import orchestrator.participant.spans; "
        "telemetry.setup('payments', None)(); sys.exit(any('opentelemetry.sdk' in m for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
