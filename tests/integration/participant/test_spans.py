"""A handling hangs below its message, a call below the handling, and an undo links to what it undoes."""

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from orchestrator.participant import spans
from tests.integration.participant.bench import benched
from tests.integration.participant.conftest import aside
from tests.integration.participant.desk import envelope_of
from tests.integration.participant.shop import ChargeCard, ReserveStock, make_payments, stock

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
COMMAND = f"00-{TRACE}-00f067aa0ba902b7-01"
UNDO = f"00-{TRACE}-00f067aa0ba902b8-01"


@pytest.fixture
def exported(monkeypatch):
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(spans, "_TRACER", provider.get_tracer("test"))
    return exporter


def traced(row, traceparent):

    return envelope_of(row)._replace(traceparent=traceparent)


async def test_spans_of_an_external_command_and_its_undo(inbox, inbox_url, gateway, exported):
    key, command = inbox.new_key(), ChargeCard(order_id="o1")
    async with benched(make_payments(), inbox_url) as bench:
        await bench.process.handle([traced(inbox.command_row(key, command), COMMAND)])
        reply = (await aside(inbox.answer, key)).value
        await bench.process.handle([traced(inbox.undo_row(key, command, "done", reply), UNDO)])
        await aside(inbox.answer, key, "undone")
    do, undo = (
        next(s for s in exported.get_finished_spans() if s.name == n) for n in ("process ChargeCard", "undo ChargeCard")
    )
    assert format(do.parent.span_id, "016x") == "00f067aa0ba902b7"
    assert format(undo.parent.span_id, "016x") == "00f067aa0ba902b8"
    assert [format(link.context.span_id, "016x") for link in undo.links] == ["00f067aa0ba902b7"]
    assert do.attributes["messaging.destination.name"] == "payments.commands"
    assert do.attributes["messaging.operation.type"] == "process"
    assert do.attributes["amends.operation_key"] == key


async def test_the_answer_of_a_local_command_carries_its_span(inbox, inbox_url, exported):
    key = inbox.new_key()
    async with benched(stock, inbox_url) as bench:
        await bench.process.handle([traced(inbox.command_row(key, ReserveStock(order_id="o1")), COMMAND)])
    (span,) = exported.get_finished_spans()
    traceparent = inbox.one("SELECT traceparent FROM amends.outbox WHERE kind = 'reply'")
    assert traceparent == f"00-{TRACE}-{format(span.context.span_id, '016x')}-01"
