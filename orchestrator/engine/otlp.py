"""Sends spans by OTLP over HTTP. The only module of the engine that imports OpenTelemetry's SDK.

It is imported only where OTEL_EXPORTER_OTLP_ENDPOINT is set. Headers, certificates, compression and the like are the
exporter's own variables (OTEL_EXPORTER_OTLP_HEADERS ...), and so are its retries: it is the exporter that sends, only
its encoder is replaced. The resource holds nothing of this process (no pid, no instance id), so that what two
orchestrators send of one turn is the same to the last byte.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import util
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext

from orchestrator import limits
from orchestrator.engine.span_encoding import SpanEncoder
from orchestrator.errors import DependencyError
from orchestrator.tracing.spans import Span

log = logging.getLogger("orchestrator.engine.spans")

SERVICE_NAME = "amends-orchestrator"  # OTEL_SERVICE_NAME says otherwise
EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


class OtlpSender:
    """Sends spans to one collector. `endpoint` as in OTEL_EXPORTER_OTLP_ENDPOINT: without the path.

    Raises DependencyError when the exporter is not installed, or none that is known.
    """

    def __init__(self, endpoint: str) -> None:
        resource = Resource({"service.name": SERVICE_NAME}).merge(OTELResourceDetector().detect())
        exporter = _exporter_with(Encoding(resource, InstrumentationScope("amends", _version())))
        self._exporter = exporter.OTLPSpanExporter(
            endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=limits.SPAN_SEND_TIMEOUT_S
        )

    def send(self, spans: Sequence[Span]) -> bool:
        """Whether the collector has accepted all. Blocks for SPAN_SEND_TIMEOUT_S at most a request."""
        for begin in range(0, len(spans), limits.SPANS_PER_REQUEST_MAX):
            part = spans[begin : begin + limits.SPANS_PER_REQUEST_MAX]
            if not self._is_accepted(part):
                return False
        return True

    def _is_accepted(self, spans: Sequence[Span]) -> bool:
        try:
            return bool(self._exporter.export(spans) is SpanExportResult.SUCCESS)
        except Exception:
            # Older versions (1.35 does) raise what newer ones log, as when no answer came in time.
            log.exception("the exporter failed")
            return False

    def close(self) -> None:
        """No more."""
        self._exporter.shutdown()


@dataclass(frozen=True, slots=True)
class Request:
    """Stands where the exporter expects protobuf's ExportTraceServiceRequest, of which it wants nothing but this."""

    encoded: bytes

    def SerializePartialToString(self) -> bytes:  # noqa: N802 # protobuf's name
        return self.encoded

    SerializeToString = SerializePartialToString


class Encoding:
    """What stands in for the exporter's `encode_spans`. Resource and scope are encoded by the original, once."""

    def __init__(self, resource: Resource, scope: InstrumentationScope) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
        except ImportError as missing:
            raise _not_installed(missing) from missing
        nobody = SpanContext(0, 0, is_remote=False)
        nothing = ReadableSpan("", context=nobody, resource=resource, instrumentation_scope=scope)
        (of_resource,) = encode_spans([nothing]).resource_spans
        (of_scope,) = of_resource.scope_spans
        self._encoder = SpanEncoder(of_resource.resource.SerializeToString(), of_scope.scope.SerializeToString())

    def __call__(self, spans: Sequence[Span]) -> Request:
        return Request(self._encoder.request(spans))


def _exporter_with(encoding: Encoding) -> Any:
    """The exporter's module, once more: a copy of our own, in which `encode_spans` is ours.

    So the spans of participants, which are the SDK's, go their own way through the module that everybody imports.
    """
    try:
        spec = util.find_spec(EXPORTER)
    except ImportError as missing:
        raise _not_installed(missing) from missing
    assert spec is not None
    assert spec.loader is not None
    exporter = util.module_from_spec(spec)
    spec.loader.exec_module(exporter)
    if not hasattr(exporter, "encode_spans"):
        raise DependencyError(
            f"{EXPORTER} {version('opentelemetry-exporter-otlp-proto-http')} encodes spans in a way that this version "
            "of Amends does not know: install 1.45 of opentelemetry-exporter-otlp-proto-http, or a newer Amends"
        )
    exporter.encode_spans = encoding  # type: ignore[attr-defined]  # a module of our own
    return exporter


def _not_installed(missing: ImportError) -> DependencyError:
    return DependencyError(
        f"OTEL_EXPORTER_OTLP_ENDPOINT is set, but {missing.name} is not installed: pip install 'amends[otlp]'"
    )


def _version() -> str:
    try:
        return version("amends")
    except PackageNotFoundError:  # run from a checkout
        return ""
