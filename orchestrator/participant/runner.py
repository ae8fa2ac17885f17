"""One process of a participant: poll, handle a batch in one transaction, let the offsets move on, call out, store.

Only the transaction decides. Offsets are committed after it and only save work: what comes again meets the inbox. So a
lost group, a killed process or a server that restarts costs a repetition, never an effect.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol, TypeVar

from orchestrator import limits
from orchestrator.errors import DependencyError
from orchestrator.failpoints import failpoint
from orchestrator.messaging import avro
from orchestrator.messaging.envelope import Envelope, Unreadable
from orchestrator.messaging.kafka_admin import Admin
from orchestrator.messaging.kafka_errors import KafkaAway
from orchestrator.messaging.kafka_group import GroupConsumer
from orchestrator.messaging.topics import Topics as TopicNames
from orchestrator.participant.counts import Counts
from orchestrator.participant.handlers import Participant
from orchestrator.participant.process import DRAIN_S, Process
from orchestrator.participant.service import LOG, Service
from orchestrator.participant.waiting import all_ended, set_or_later

POLL_S = 0.2
KAFKA_RETRY_S = 1.0
SCHEMA_WAIT_S, SCHEMA_LOOKS = 0.2, 20

_T = TypeVar("_T")


class Settings(Protocol):
    """What a participant needs of orchestrator.settings."""

    @property
    def database_url(self) -> str: ...
    @property
    def kafka_bootstrap_servers(self) -> str: ...
    @property
    def topic_prefix(self) -> str: ...


class Runner:
    """`await Runner(participant, settings).run(stop)`."""

    def __init__(
        self,
        participant: Participant[Any],
        settings: Settings,
        *,
        schemas_dir: Path | None = None,
        kafka_login: Mapping[str, str] | None = None,
    ) -> None:
        self._participant = participant
        self._settings, self._kafka_login = settings, kafka_login
        self._service = Service(participant, TopicNames(settings.topic_prefix))
        if schemas_dir is not None:
            avro.use_schemas(schemas_dir)
        self.started = asyncio.Event()  # polling has begun
        # For people, from any thread.
        self.process: Process | None = None
        self.trouble: str | None = "it has not begun"  # why nothing is consumed

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then drains: no new messages, calls that are out may end, what they answer is stored.

        Raises DefinitionError, and DependencyError for a topic that is missing, before the first message. It waits for
        a Postgres or a Kafka that is away, then and later.
        """
        self._participant.check()
        async with AsyncExitStack() as stack:
            kafka = _KafkaThread(self._settings, self._service, self._kafka_login)
            stack.push_async_callback(kafka.close)
            await self._wait_for_kafka(stop, kafka)
            if stop.is_set():
                return
            if self._participant.lifespan is not None:
                self._service.deps = await stack.enter_async_context(self._participant.lifespan())
            process = Process(self._service, self._settings.database_url)
            stack.push_async_callback(process.close)
            self.process = process
            await process.prepare()
            await self._work(stop, kafka, process)

    @property
    def name(self) -> str:
        return self._participant.name

    @property
    def topics(self) -> list[str]:
        """Full names of those that it reads."""
        return sorted(self._service.topics_read)

    @property
    def counts(self) -> Counts:
        return self._service.counts

    async def _wait_for_kafka(self, stop: asyncio.Event, kafka: "_KafkaThread") -> None:
        """Until it has answered that all topics are there."""
        while not stop.is_set():
            try:
                await kafka.check_topics()
                break
            except KafkaAway as error:
                LOG.warning("%s: %s again in %g s", self._service.name, error, KAFKA_RETRY_S)
                await set_or_later(stop, KAFKA_RETRY_S)

    async def _work(self, stop: asyncio.Event, kafka: "_KafkaThread", process: "Process") -> None:
        await kafka.subscribe()
        background = [asyncio.create_task(task) for task in process.background()]
        loop = asyncio.create_task(self._consume(stop, kafka, process))
        self.started.set()
        try:
            done, _ = await asyncio.wait([loop, *background], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self.trouble = "it is being stopped"
            stop.set()
            await asyncio.wait([loop], timeout=DRAIN_S)
            await all_ended([loop])  # It waits for a Postgres that is away: what it holds comes again from Kafka.
            await kafka.close()  # The others go on at once; what is out here ends meanwhile.
            await process.drain()
            await all_ended(background)

    async def _consume(self, stop: asyncio.Event, kafka: "_KafkaThread", process: "Process") -> None:
        held: list[Envelope | Unreadable] = []  # of a schema that the registry has not said yet, and what lies behind
        while not stop.is_set():
            await kafka.hold_back(full=process.is_full() or bool(held))
            try:
                # Polled also while messages are held, or the group would give our partitions away.
                held += await kafka.poll(limits.LOCAL_BATCH_MAX)
                self.trouble = None
                if not held:
                    continue
                await process.handle(held)
                messages, held = held, []
                failpoint("participant.offsets.before")
                await kafka.commit(messages)
                failpoint("participant.offsets.after")
            except avro.SchemaPending as pending:
                await _soon(pending)
            except DependencyError as error:
                self.trouble = str(error)
                LOG.error("%s: %s; again in %g s", self._service.name, error, KAFKA_RETRY_S)
                await set_or_later(stop, KAFKA_RETRY_S)


async def _soon(pending: avro.SchemaPending) -> None:
    """A registry that is there answers within milliseconds; who waits longer goes back to polling."""
    for _ in range(SCHEMA_LOOKS):
        if avro.knows(pending.schema_id):
            return
        await asyncio.sleep(SCHEMA_WAIT_S / SCHEMA_LOOKS)


class _KafkaThread:
    """The blocking consumer on a thread of its own."""

    def __init__(self, settings: Settings, service: Service, login: Mapping[str, str] | None) -> None:
        self._bootstrap, self._login = settings.kafka_bootstrap_servers, login
        self._group = TopicNames(settings.topic_prefix).group(service.name)
        self._topics = sorted(service.topics_read)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"kafka {service.name}")
        self._consumer: GroupConsumer | None = None
        self._paused: list[tuple[str, int]] = []

    async def check_topics(self) -> None:
        """Raise KafkaAway, or DependencyError for a topic that is missing."""
        found = await self._in_thread(lambda: Admin(self._bootstrap, self._login).partitions(self._topics))
        if missing := sorted(set(self._topics) - found.keys()):
            raise DependencyError(
                f"no topic {', '.join(missing)} at {self._bootstrap}: make it with `amends migrate`, and compare "
                f"AMENDS_TOPIC_PREFIX here with the orchestrator's"
            )

    async def subscribe(self) -> None:
        self._consumer = await self._in_thread(
            lambda: GroupConsumer(self._bootstrap, self._group, f"amends-{self._group}", login=self._login)
        )
        await self._in_thread(lambda: self._open.subscribe(self._topics, lambda _places: None))

    async def poll(self, messages_max: int) -> list[Envelope | Unreadable]:
        return await self._in_thread(lambda: self._open.poll(messages_max, POLL_S))

    async def commit(self, messages: Sequence[Envelope | Unreadable]) -> None:
        offsets: dict[tuple[str, int], int] = {}
        for message in messages:
            place = (message.topic, message.partition)
            offsets[place] = max(offsets.get(place, 0), message.offset + 1)
        await self._in_thread(lambda: self._open.commit(offsets))

    async def hold_back(self, *, full: bool) -> None:
        """While too much waits here, stay in the group but fetch nothing. Partitions may have come: look each time."""
        if full:
            self._paused = await self._in_thread(self._open.assignment)
            await self._in_thread(lambda: self._open.pause(self._paused))
        elif self._paused:
            paused, self._paused = self._paused, []
            await self._in_thread(lambda: self._open.resume(paused))

    async def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await self._in_thread(consumer.close)
        self._thread.shutdown(wait=False)

    @property
    def _open(self) -> GroupConsumer:
        assert self._consumer is not None
        return self._consumer

    async def _in_thread(self, function: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)


logging.getLogger("amends.participant").addHandler(logging.NullHandler())
