"""A collector of our own: OTLP over HTTP, real protobuf. It keeps every copy of every span that it was sent."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """`hold_at`: the n-th request is read and not answered until `release`. `refusing`: answers 503, keeps nothing.

    `refused`: the name of a span that it takes in no request.
    """

    def __init__(self) -> None:
        self.copies: dict[str, list[bytes]] = {}
        self.spans: dict[str, Span] = {}
        self.services: dict[str, str] = {}
        self.requests = 0
        self.refusing = False
        self.refused = ""
        self.hold_at = 0
        self.held = threading.Event()
        self.release = threading.Event()
        self._lock = threading.Lock()

    def names(self) -> set[str]:
        return {span.name for span in self.spans.values()}

    def one(self, name: str) -> Span:
        found = [span for span in self.spans.values() if span.name == name]
        assert len(found) == 1, (name, sorted(self.names()))
        return found[0]

    def take(self, body: bytes) -> bool:
        with self._lock:
            self.requests += 1
            held = self.requests == self.hold_at
            if self.refusing:
                return False
            request = ExportTraceServiceRequest.FromString(body)
            if any(s.name == self.refused for r in request.resource_spans for sc in r.scope_spans for s in sc.spans):
                return False
            for of_resource in request.resource_spans:
                facts = {a.key: a.value.string_value for a in of_resource.resource.attributes}
                for span in (span for scope in of_resource.scope_spans for span in scope.spans):
                    self.copies.setdefault(span.span_id.hex(), []).append(span.SerializeToString(deterministic=True))
                    self.spans[span.span_id.hex()] = span
                    self.services[span.span_id.hex()] = facts.get("service.name", "")
        if held:
            self.held.set()
            self.release.wait(30)
        return True


@contextmanager
def running_collector() -> Iterator[tuple[Collector, str]]:
    """The collector and the endpoint to give to whoever exports."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces", self.path
            accepted = collector.take(body)
            try:
                self.send_response(200 if accepted else 503)
                self.send_header("Content-Type", "application/x-protobuf")
                self.end_headers()
                self.wfile.write(ExportTraceServiceResponse().SerializeToString())
            except OSError:
                pass  # It was killed meanwhile: that is what the tests are about.

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        collector.release.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
