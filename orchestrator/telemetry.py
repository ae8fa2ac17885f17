"""Tracing of a participant's process, set up at the edge: handlers' spans, and those of the calls they make.

The kit itself only uses OpenTelemetry's API, so a service that brings its own SDK (auto-instrumentation, another
exporter) keeps it. The orchestrator's spans are not made here: they come from the journal (`engine.span_export`).
"""

import logging
from collections.abc import Callable

from orchestrator import limits
from orchestrator.errors import DependencyError

log = logging.getLogger("orchestrator.telemetry")


def setup(service_name: str, endpoint: str | None) -> Callable[[], None]:
    """Export this process's spans by OTLP over HTTP. Returns what sends the last of them, to be called at the end.

    `endpoint` as in OTEL_EXPORTER_OTLP_ENDPOINT, without the path; None exports nothing, and loads nothing. Raises
    DependencyError when the exporter is not installed. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES are heeded.
    """
    if endpoint is None:
        return _nothing
    from opentelemetry import trace

    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        log.info("this process has its own tracer provider: spans of handlers go there")
        return _nothing
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as missing:
        raise DependencyError(
            f"OTEL_EXPORTER_OTLP_ENDPOINT is set, but {missing.name} is not installed: pip install 'amends[otlp]'"
        ) from missing
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    url = f"{endpoint.rstrip('/')}/v1/traces"
    resource = Resource.create({"service.name": service_name}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url, timeout=limits.SPAN_SEND_TIMEOUT_S)))
    trace.set_tracer_provider(provider)
    return provider.shutdown


def _nothing() -> None:
    """There is nothing to send."""
