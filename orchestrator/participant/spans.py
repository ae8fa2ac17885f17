"""Spans of a handling, by OpenTelemetry's API alone: without an SDK in the process they cost a function call.

The parent is the message's `traceparent`, so a handling hangs below the saga's operation, and what a handler calls
(an instrumented httpx) below the handling. An undo's span links to the command that it takes back.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import Token

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from orchestrator.errors import Failure

_PROPAGATOR = TraceContextTextMapPropagator()
_TRACER = trace.get_tracer("amends.participant")

# What the propagator would write, too; every other form is left to it.
_PLAIN = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

Attributes = dict[str, str | int]


def handling(
    name: str, traceparent: str | None, attributes: Callable[[], Attributes], *, undone_of: str | None = None
) -> AbstractContextManager[Span]:
    """The span of one handling; current inside. A Failure is an answer, any other exception an error."""
    if not _is_traced():
        if traceparent is None:
            return nullcontext(trace.get_current_span())
        if _PLAIN.fullmatch(traceparent):
            return _PassedOn(traceparent)
    return _recorded(name, traceparent, attributes(), undone_of)


def _is_traced() -> bool:
    """Whether this process has an SDK, which may come at any time."""
    return not (
        isinstance(_TRACER, trace.ProxyTracer) and isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    )


class _Sender(NonRecordingSpan):
    """The span that a message names. Its name is read when somebody asks for it, which is seldom."""

    def __init__(self, traceparent: str) -> None:
        self.traceparent = traceparent

    def __repr__(self) -> str:
        return f"_Sender({self.traceparent})"

    def get_span_context(self) -> SpanContext:
        return trace.get_current_span(_PROPAGATOR.extract({"traceparent": self.traceparent})).get_span_context()


class _PassedOn(AbstractContextManager[Span]):
    """Nobody records spans here: what the handler sends on belongs to the span of whoever sent the message."""

    __slots__ = ("_span", "_token")

    def __init__(self, traceparent: str) -> None:
        self._span = _Sender(traceparent)
        self._token: Token[Context] | None = None

    def __enter__(self) -> Span:
        self._token = context.attach(trace.set_span_in_context(self._span))
        return self._span

    def __exit__(self, *_: object) -> None:
        assert self._token is not None
        context.detach(self._token)


@contextmanager
def _recorded(name: str, traceparent: str | None, attributes: Attributes, undone_of: str | None) -> Iterator[Span]:
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
    if isinstance(current := trace.get_current_span(), _Sender):
        return current.traceparent
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
