"""Sagas that wait for a message: how soon all have ended once they are told to go on."""

import asyncio
import time

import psycopg

from orchestrator import Client
from tests.bench.installation import Installation
from tests.bench.program import PAYLOAD, Go, waiting
from tests.deadlines import eventually

SAGAS = 5_000
POLL_S = 0.01
PARKED = "SELECT count(DISTINCT saga_no) FROM amends.journal"
ENDED = "SELECT count(*) FROM amends.sagas WHERE status = 'completed'"


def wake(place: Installation) -> dict[str, float]:
    """From the COMMIT of 5,000 messages to the last end: outbox, Kafka, a turn of each saga."""
    place.relay()
    place.orchestrator()
    asyncio.run(_start_all(place))
    eventually(lambda: place.row(PARKED)[0] == SAGAS, 60, "all wait")
    asyncio.run(_send_all(place))
    began_s = time.monotonic()
    with psycopg.connect(place.url, autocommit=True) as looking:
        while looking.execute(ENDED).fetchone() != (SAGAS,):
            time.sleep(POLL_S)
    return {"wake_5000_s": time.monotonic() - began_s}


async def _start_all(place: Installation) -> None:
    async with Client(place.settings) as client, await psycopg.AsyncConnection.connect(place.url) as connection:
        for n in range(SAGAS):
            await client.start(waiting, PAYLOAD, id=f"s{n}", connection=connection)


async def _send_all(place: Installation) -> None:
    """In one transaction of ours: they all become visible at once."""
    async with Client(place.settings) as client, await psycopg.AsyncConnection.connect(place.url) as connection:
        for n in range(SAGAS):
            await client.send(f"s{n}", Go(note=PAYLOAD), connection=connection)
