"""`SyncClient` is `Client` without await, and both have what the public surface promises."""

import inspect

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from orchestrator import Client, SyncClient
from orchestrator.client import requests

PROMISED = [
    "start",
    "run",
    "result",
    "send",
    "get",
    "describe",
    "list",
    "cancel",
    "terminate",
    "retry",
    "skip",
    "fail",
    "unblock",
    "close",
]


@pytest.mark.parametrize("name", PROMISED)
def test_both_clients_take_the_same_arguments(name: str) -> None:
    awaited, plain = getattr(Client, name), getattr(SyncClient, name)
    assert inspect.iscoroutinefunction(awaited)
    assert not inspect.iscoroutinefunction(plain)
    without_types = [
        [(p.name, p.kind, p.default) for p in inspect.signature(method).parameters.values()]
        for method in (awaited, plain)
    ]
    assert without_types[0] == without_types[1]
    assert inspect.getdoc(awaited) == inspect.getdoc(plain)


def test_the_callers_span_is_the_parent() -> None:
    assert requests.traceparent() is None
    tracer = TracerProvider().get_tracer("test")
    with tracer.start_as_current_span("place order") as span:
        found = requests.traceparent()
    context = span.get_span_context()
    ids = f"{trace.format_trace_id(context.trace_id)}-{trace.format_span_id(context.span_id)}"
    assert found == f"00-{ids}-{context.trace_flags:02x}"
