"""A participant's process in small: one handling that calls an HTTP service. Arguments: endpoint, URL, traceparent."""

import asyncio
import sys

import httpx

from orchestrator import telemetry
from orchestrator.errors import Failure
from orchestrator.participant import spans
from services.traced_http import TracedTransport


class Declined(Failure):
    reason: str


async def handle(url: str, traceparent: str) -> None:
    def attributes() -> spans.Attributes:
        return spans.process_attributes("shop.payments.commands", "payments", "id", "order-7")

    async with httpx.AsyncClient(transport=TracedTransport()) as client:
        with spans.handling("process ChargeCard", traceparent, attributes):
            await client.post(f"{url}/charges?card=4111", json={})
        try:
            with spans.handling("undo ChargeCard", traceparent, attributes, undone_of=traceparent):
                raise Declined(reason="no")
        except Declined:
            pass


if __name__ == "__main__":
    send_last_spans = telemetry.setup("payments", sys.argv[1])
    asyncio.run(handle(sys.argv[2], sys.argv[3]))
    send_last_spans()
