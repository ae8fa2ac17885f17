"""What a user sets for OpenTelemetry's exporter holds for the orchestrator's spans: the exporter itself sends them."""

import gzip
import shutil
import ssl
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest.mock import patch

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from orchestrator import limits
from orchestrator.engine.otlp import OtlpSender
from tests.deadlines import deadline
from tests.unit.tracing.test_encoding import some_spans

SPANS = some_spans()


class Seen:
    """Requests as they came. `answers` are the statuses of the first ones, then it is 200."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.answers: list[int] = []
        self.answer_headers: dict[str, str] = {}
        self.stalled = threading.Event()
        self.stalled.set()

    def spans(self, decompress: Callable[[bytes], bytes] = bytes) -> list[str]:
        request = ExportTraceServiceRequest.FromString(decompress(self.bodies[-1]))
        return [s.name for r in request.resource_spans for scope in r.scope_spans for s in scope.spans]


@contextmanager
def collector(context: ssl.SSLContext | None = None) -> Iterator[tuple[Seen, str]]:
    seen = Seen()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.headers.append({name.lower(): value for name, value in self.headers.items()})
            seen.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            seen.stalled.wait(deadline(30))
            try:
                self.send_response(seen.answers.pop(0) if seen.answers else 200)
                for name, value in seen.answer_headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()
            except OSError:
                pass  # It waits no longer: one of the tests is about that.

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield seen, f"{'http' if context is None else 'https'}://127.0.0.1:{server.server_address[1]}"
    finally:
        seen.stalled.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


@contextmanager
def sending(endpoint: str) -> Iterator[OtlpSender]:
    sender = OtlpSender(endpoint)
    try:
        yield sender
    finally:
        sender.close()


def test_headers_and_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s3cret,x-scope-orgid=shop%201")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop-sagas")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    with collector() as (seen, endpoint), sending(endpoint) as sender:
        assert sender.send(SPANS)
    assert (seen.headers[0]["api-key"], seen.headers[0]["x-scope-orgid"]) == ("s3cret", "shop 1")
    assert seen.headers[0]["content-type"] == "application/x-protobuf"
    request = ExportTraceServiceRequest.FromString(seen.bodies[0])
    facts = {a.key: a.value.string_value for a in request.resource_spans[0].resource.attributes}
    assert facts == {"service.name": "shop-sagas", "deployment.environment.name": "test"}


@pytest.mark.parametrize(("word", "decompress"), [("gzip", gzip.decompress), ("deflate", zlib.decompress)])
def test_compression(monkeypatch: pytest.MonkeyPatch, word: str, decompress: Callable[[bytes], bytes]) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", word)
    with collector() as (seen, endpoint), sending(endpoint) as sender:
        assert sender.send(SPANS)
    assert seen.headers[0]["content-encoding"] == word
    assert seen.spans(decompress) == [span.name for span in SPANS]


def test_a_collector_that_is_busy_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SPAN_SEND_TIMEOUT_S", deadline(10))
    with collector() as (seen, endpoint), sending(endpoint) as sender:
        seen.answers = [503]
        assert sender.send(SPANS)
        assert len(seen.bodies) == 2
        assert seen.bodies[0] == seen.bodies[1]
        seen.answers = [400]
        assert not sender.send(SPANS), "it will never take them"
        assert len(seen.bodies) == 3


def test_a_collector_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SPAN_SEND_TIMEOUT_S", 0.5)
    with collector() as (seen, endpoint), sending(endpoint) as sender:
        seen.stalled.clear()
        began_s = time.monotonic()
        assert not sender.send(SPANS)
        assert time.monotonic() - began_s < deadline(10)


def test_an_exporter_that_raises_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Older ones (1.35) do so when a collector does not answer in time."""
    with collector() as (seen, endpoint), sending(endpoint) as sender:
        broken = [SPANS[0]._replace(trace_id="no trace")]
        with patch.object(sender._exporter, "export", side_effect=TimeoutError("no answer")):
            assert not sender.send(SPANS)
        assert "no answer" in caplog.text
        assert not sender.send(broken)
        assert seen.bodies == []
        assert sender.send(SPANS)


def test_requests_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SPANS_PER_REQUEST_MAX", 3)
    with collector() as (seen, endpoint), sending(endpoint) as sender:
        assert sender.send(some_spans(4))
        assert len(seen.bodies) == 3
        assert seen.spans() == ["call ChargeCard", "saga checkout"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates are made by openssl")
def test_certificates_of_both_sides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("server", "client"):
        openssl = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
        files = ["-keyout", tmp_path / f"{name}.key", "-out", tmp_path / f"{name}.pem"]
        subprocess.run([*openssl, *files, "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(tmp_path / "client.pem")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)  # they would be stronger
    with collector(context) as (seen, endpoint):
        monkeypatch.setattr(limits, "SPAN_SEND_TIMEOUT_S", 0.5)
        with sending(endpoint) as sender:
            assert not sender.send(SPANS), "nobody knows its certificate"
        assert seen.bodies == []
        monkeypatch.setattr(limits, "SPAN_SEND_TIMEOUT_S", deadline(10))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(tmp_path / "server.pem"))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", str(tmp_path / "client.pem"))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_KEY", str(tmp_path / "client.key"))
        with sending(endpoint) as sender:
            assert sender.send(SPANS)
        assert seen.spans() == [span.name for span in SPANS]
