"""What is sent is what OpenTelemetry's SDK makes of the same spans, to the byte."""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event as SdkEvent
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from orchestrator.engine import otlp
from orchestrator.errors import DependencyError
from orchestrator.tracing.spans import Event, SagaFacts, Span, Takeover, spans_of
from tests.unit.tracing import journals as j
from tests.unit.tracing.test_incremental import journals

RESOURCE = Resource({"service.name": "amends-orchestrator", "deployment.environment.name": "prüfung"})
SCOPE = InstrumentationScope("amends", "1.2.3")
KINDS = {"internal": SpanKind.INTERNAL, "producer": SpanKind.PRODUCER, "consumer": SpanKind.CONSUMER}


def by_us(spans: list[Span]) -> bytes:
    return otlp.Encoding(RESOURCE, SCOPE)(spans).SerializePartialToString()


def by_the_sdk(spans: list[Span]) -> bytes:
    return encode_spans([readable(span) for span in spans]).SerializeToString()


def readable(span: Span) -> ReadableSpan:
    trace_id = int(span.trace_id, 16)

    def context(span_id: str, is_remote: bool = False) -> SpanContext:
        return SpanContext(trace_id, int(span_id, 16), is_remote, TraceFlags(TraceFlags.SAMPLED))

    return ReadableSpan(
        name=span.name,
        context=context(span.span_id),
        parent=None if span.parent_id is None else context(span.parent_id, span.parent_is_remote),
        resource=RESOURCE,
        attributes=dict(span.attributes),
        events=[SdkEvent(e.name, dict(e.attributes), e.at_us * 1_000) for e in span.events],
        links=[Link(context(linked)) for linked in span.links],
        kind=KINDS[span.kind],
        status=Status(StatusCode.UNSET) if span.error is None else Status(StatusCode.ERROR, span.error),
        start_time=span.begun_us * 1_000,
        end_time=span.ended_us * 1_000,
        instrumentation_scope=SCOPE,
    )


def hexes(size: int) -> st.SearchStrategy[str]:
    return st.binary(min_size=size, max_size=size).map(bytes.hex)


TIMES = st.integers(0, 2**63 // 1_000)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=400)
ATTRIBUTES = st.dictionaries(TEXTS, TEXTS | st.booleans() | st.integers(-(2**63), 2**63 - 1), max_size=5)
SPANS = st.builds(
    Span,
    trace_id=hexes(16),
    span_id=hexes(8),
    parent_id=st.none() | hexes(8),
    parent_is_remote=st.booleans(),
    name=TEXTS,
    kind=st.sampled_from(sorted(KINDS)),
    begun_us=TIMES,
    ended_us=TIMES,
    attributes=ATTRIBUTES,
    events=st.lists(st.builds(Event, TEXTS, TIMES, ATTRIBUTES), max_size=3).map(tuple),
    links=st.lists(hexes(8), max_size=2).map(tuple),
    error=st.none() | TEXTS,
).filter(lambda span: span.parent_id is not None or not span.parent_is_remote)


@settings(max_examples=300, deadline=None)
@given(st.lists(SPANS, max_size=4))
def test_any_spans(spans: list[Span]) -> None:
    assert by_us(spans) == by_the_sdk(spans)


@settings(max_examples=100, deadline=None)
@given(journals(), st.none() | st.just(f"00-{'ab' * 16}-{'cd' * 8}-01"))
def test_spans_of_journals(bodies: list[j.Turn], traceparent: str | None) -> None:
    facts = SagaFacts("order-7", "5f0f0cde-0000-4000-8000-000000000007", "checkout", 1, traceparent, "shop.")
    spans = list(spans_of(facts, bodies, [Takeover(j.us(1), 3, "successor")]))
    assert by_us(spans) == by_the_sdk(spans)


def some_spans(count: int = 1) -> list[Span]:
    bodies = [j.started(0, j.call(0, "ChargeCard")), j.replied(2, 0, j.finish())]
    return [
        span
        for number in range(count)
        for span in spans_of(SagaFacts(f"order-{number}", f"uid-{number}", "checkout", 1, None), bodies)
    ]


def test_more_spans_than_attributes_are_kept() -> None:
    spans = some_spans(3_000)
    assert by_us(spans) == by_the_sdk(spans)


def test_a_text_that_is_none_does_not_cost_the_others() -> None:
    half = "a half of a pair: \ud800"
    span = Span("ab" * 16, "cd" * 8, None, False, half, "internal", 1, 2, {half: half}, error=half)
    request = ExportTraceServiceRequest.FromString(by_us([span, *some_spans()]))
    first, *others = request.resource_spans[0].scope_spans[0].spans
    assert first.name == first.status.message == first.attributes[0].value.string_value == "a half of a pair: ?"
    assert len(others) == 2


def test_the_exporter_of_everybody_else_keeps_its_encoder() -> None:
    from opentelemetry.exporter.otlp.proto.http import trace_exporter

    ours = otlp._exporter_with(otlp.Encoding(RESOURCE, SCOPE))
    assert trace_exporter.encode_spans is encode_spans
    assert ours.encode_spans is not encode_spans


def test_an_exporter_that_is_not_known_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path_factory) -> None:
    package = tmp_path_factory.mktemp("newer") / "newer_exporter.py"
    package.write_text("class OTLPSpanExporter: pass\n")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setattr(otlp, "EXPORTER", "newer_exporter")
    with pytest.raises(DependencyError, match=r"install 1\.45"):
        otlp.OtlpSender("http://127.0.0.1:9")


def test_a_missing_exporter_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.common.trace_encoder", None)
    with pytest.raises(DependencyError, match=r"pip install 'amends\[otlp\]'"):
        otlp.OtlpSender("http://127.0.0.1:9")
