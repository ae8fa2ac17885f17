"""A participant without Kafka: its messages are handed over, everything else is real."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import psycopg

from orchestrator.messaging.topics import Topics as TopicNames
from orchestrator.participant import Participant
from orchestrator.participant.process import Process
from orchestrator.participant.service import Service
from orchestrator.participant.waiting import all_ended
from outbox_relay.rows import Row
from tests.integration.participant.desk import envelope_of
from tests.roles import as_role

TOPICS = {"sagas": 4, "stock.commands": 2, "payments.commands": 2, "orders": 2, "stock-events": 1}


def register(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        for topic, partitions in TOPICS.items():
            connection.execute("INSERT INTO amends.topics VALUES (%s, %s)", (topic, partitions))


class Bench:
    def __init__(self, process: Process) -> None:
        self.process = process
        self._offset = 0

    async def handle(self, *rows: Row, age_s: float = 0.0) -> None:
        await self.process.handle([self.envelope(row, age_s) for row in rows])

    def envelope(self, row: Row, age_s: float = 0.0) -> Any:
        self._offset += 1
        return envelope_of(row, offset=self._offset, age_s=age_s)

    async def handle_all(self, rows: Sequence[Row]) -> None:
        await self.handle(*rows)


@asynccontextmanager
async def benched(participant: Participant[Any], database_url: str, *, drain: bool = True) -> AsyncIterator[Bench]:
    participant.check()
    service = Service(participant, TopicNames(""))
    async with AsyncExitStack() as stack:
        if participant.lifespan is not None:
            service.deps = await stack.enter_async_context(participant.lifespan())
        process = Process(service, as_role(database_url, "participant"))
        await process.prepare()
        background = [asyncio.create_task(task) for task in process.background()]
        try:
            yield Bench(process)
        finally:
            if drain:
                await process.drain()
            await all_ended(background)
            await process.close()
