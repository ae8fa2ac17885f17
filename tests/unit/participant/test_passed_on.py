"""Without an SDK in the process nothing is recorded, and the sender's place in the trace is handed on all the same."""

import pytest
from opentelemetry import trace
from opentelemetry.propagate import inject

from orchestrator.participant import spans

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PLAIN = f"00-{TRACE}-{SPAN}-01"


def attributes() -> spans.Attributes:
    raise AssertionError("nobody records a span")


def sent_on() -> str | None:
    """What an instrumented client would send along."""
    carrier: dict[str, str] = {}
    inject(carrier)
    return carrier.get("traceparent")


def test_a_handler_sends_on_what_came():
    before = trace.get_current_span()
    with spans.handling("process", PLAIN, attributes) as span:
        assert trace.get_current_span() is span
        assert (sent_on(), spans.traceparent()) == (PLAIN, PLAIN)
        context = span.get_span_context()
        assert (context.is_valid, context.is_remote, format(context.span_id, "016x")) == (True, True, SPAN)
        assert not span.is_recording()
    assert trace.get_current_span() is before


def test_without_a_trace_the_current_one_stays():
    with spans.handling("process", PLAIN, attributes), spans.handling("process", None, attributes):
        assert sent_on() == PLAIN
    with spans.handling("process", None, attributes):
        assert (sent_on(), spans.traceparent()) == (None, None)


@pytest.mark.parametrize(
    "odd",
    [
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        "no trace",
        "",
    ],
)
def test_what_is_no_place_in_a_trace_is_none(odd):
    with spans.handling("process", odd, dict):
        assert (sent_on(), spans.traceparent()) == (None, None)


def test_a_later_version_is_read_as_the_standard_says():
    with spans.handling("process", f"01-{TRACE}-{SPAN}-01-more", dict):
        assert (sent_on(), spans.traceparent()) == (PLAIN, PLAIN)


def test_an_error_goes_through():
    with pytest.raises(ZeroDivisionError), spans.handling("process", PLAIN, attributes):
        raise ZeroDivisionError
    assert sent_on() is None
