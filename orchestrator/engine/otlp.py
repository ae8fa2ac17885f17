"""Spans as OpenTelemetry's SDK knows them, sent by OTLP over HTTP. The only module of the engine that imports the SDK.

It is imported only where OTEL_EXPORTER_OTLP_ENDPOINT is set. Headers, certificates and the like are the exporter's own
variables (OTEL_EXPORTER_OTLP_HEADERS ...). The resource holds nothing of this process (no pid, no instance id), so that
what two orchestrators send of one turn is the same to the last byte.
"""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from orchestrator import limits
from orchestrator.errors import DependencyError
from orchestrator.tracing.spans import Span

if TYPE_CHECKING:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

SERVICE_NAME = "amends-orchestrator"  # OTEL_SERVICE_NAME says otherwise

_KINDS = {"internal": SpanKind.INTERNAL, "producer": SpanKind.PRODUCER, "consumer": SpanKind.CONSUMER}


class OtlpSender:
    """Sends spans to one collector. `endpoint` as in OTEL_EXPORTER_OTLP_ENDPOINT: without the path."""

    def __init__(self, endpoint: str) -> None:
        self._exporter = _exporter(f"{endpoint.rstrip('/')}/v1/traces")
        self._resource = Resource({"service.name": SERVICE_NAME}).merge(OTELResourceDetector().detect())
        self._scope = InstrumentationScope("amends", _version())

    def send(self, spans: Sequence[Span]) -> bool:
        """Whether the collector has accepted all. Blocks for SPAN_SEND_TIMEOUT_S at most a request."""
        for begin in range(0, len(spans), limits.SPANS_PER_REQUEST_MAX):
            part = [self._readable(span) for span in spans[begin : begin + limits.SPANS_PER_REQUEST_MAX]]
            if self._exporter.export(part) is not SpanExportResult.SUCCESS:
                return False
        return True

    def close(self) -> None:
        """No more."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # OpenTelemetry's

    def _readable(self, span: Span) -> ReadableSpan:
        trace_id = int(span.trace_id, 16)
        return ReadableSpan(
            name=span.name,
            context=_context(trace_id, span.span_id),
            parent=None if span.parent_id is None else _context(trace_id, span.parent_id, span.parent_is_remote),
            resource=self._resource,
            attributes=dict(span.attributes),
            events=[Event(e.name, dict(e.attributes), e.at_us * 1_000) for e in span.events],
            links=[Link(_context(trace_id, linked)) for linked in span.links],
            kind=_KINDS[span.kind],
            status=Status(StatusCode.UNSET) if span.error is None else Status(StatusCode.ERROR, span.error),
            start_time=span.begun_us * 1_000,
            end_time=span.ended_us * 1_000,
            instrumentation_scope=self._scope,
        )


def _context(trace_id: int, span_id: str, is_remote: bool = False) -> SpanContext:  # noqa: FBT001, FBT002
    return SpanContext(trace_id, int(span_id, 16), is_remote, TraceFlags(TraceFlags.SAMPLED))


def _exporter(url: str) -> "OTLPSpanExporter":
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as missing:
        raise DependencyError(
            f"OTEL_EXPORTER_OTLP_ENDPOINT is set, but {missing.name} is not installed: pip install 'amends[otlp]'"
        ) from missing
    return OTLPSpanExporter(endpoint=url, timeout=limits.SPAN_SEND_TIMEOUT_S)


def _version() -> str:
    try:
        return version("amends")
    except PackageNotFoundError:  # run from a checkout
        return ""
