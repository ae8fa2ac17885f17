"""Spans of a handling, by OpenTelemetry's API alone: without an SDK in the process they cost a function call.

The parent is the message's `traceparent`, so a handling hangs below the saga's operation, and what a handler calls
(an instrumented httpx) below the handling. An undo's span links to the command that it takes back.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from orchestrator.errors import Failure

_PROPAGATOR = TraceContextTextMapPropagator()
_TRACER = trace.get_tracer("amends.participant")

Attributes = dict[str, str | int]


@contextmanager
def handling(
    name: str, traceparent: str | None, attributes: Attributes, *, undone_of: str | None = None
) -> Iterator[Span]:
    """The span of one handling; current inside. A Failure is an answer, any other exception an error."""
    parent = None if traceparent is None else _PROPAGATOR.extract({"traceparent": traceparent})
    links = [] if undone_of is None else _links(undone_of)
    with _TRACER.start_as_current_span(
        name,
        context=parent,
        kind=SpanKind.CONSUMER,
        attributes=attributes,
        links=links,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield span
        except BaseException as error:
            fail(span, error)
            raise


def fail(span: Span, error: BaseException) -> None:
    """Note on the span how the handling ended."""
    span.set_attribute("error.type", type(error).__qualname__)
    if not isinstance(error, Failure):
        span.set_status(Status(StatusCode.ERROR, str(error)[:200]))


def traceparent() -> str | None:
    """Of the current span; None if nothing is traced."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get("traceparent")


def process_attributes(
    topic: str, service: str, message_id: str = "", key: str = "", more: Attributes | None = None
) -> Attributes:
    """Names of OpenTelemetry's messaging conventions."""
    attributes: Attributes = {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": topic,
        "messaging.consumer.group.name": service,
    }
    if message_id:
        attributes["messaging.message.id"] = message_id
    if key:
        attributes["messaging.kafka.message.key"] = key
    return attributes | (more or {})


def _links(traceparent_text: str) -> list[Link]:
    context = trace.get_current_span(_PROPAGATOR.extract({"traceparent": traceparent_text})).get_span_context()
    return [Link(context)] if context.is_valid else []
