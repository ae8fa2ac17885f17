"""One process of a participant: poll, handle a batch in one transaction, let the offsets move on, call out, store.

Only the transaction decides. Offsets are committed after it and only save work: what comes again meets the inbox. So a
lost group, a killed process or a server that restarts costs a repetition, never an effect.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol, TypeVar

from orchestrator import limits
from orchestrator.errors import DependencyError
from orchestrator.messaging import avro
from orchestrator.messaging.envelope import Envelope, Unreadable
from orchestrator.messaging.kafka import GroupConsumer
from orchestrator.messaging.kafka_admin import Admin
from orchestrator.messaging.topics import Topics as TopicNames
from orchestrator.participant import inbox, inbox_events, scan
from orchestrator.participant.batches import Batches
from orchestrator.participant.breaker import SharedBreakers
from orchestrator.participant.calls import CALLS_WAITING_MAX, Calls
from orchestrator.participant.connection import Lane, until_connected
from orchestrator.participant.follow import Follower
from orchestrator.participant.handlers import Participant
from orchestrator.participant.outcomes import Ended
from orchestrator.participant.requests import Request, read
from orchestrator.participant.service import LOG, Service
from orchestrator.participant.unit import Unit
from orchestrator.participant.work import EndWork, RequestWork

POLL_S = 0.2
DRAIN_S = 15.0
ENDS_BATCH_MAX = 100
KAFKA_RETRY_S = 1.0

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

    def __init__(self, participant: Participant[Any], settings: Settings, *, schemas_dir: Path | None = None) -> None:
        self._participant = participant
        self._settings = settings
        self._service = Service(participant, TopicNames(settings.topic_prefix))
        if schemas_dir is not None:
            avro.use_schemas(schemas_dir)
        self.started = asyncio.Event()  # polling has begun

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then drains: no new messages, calls that are out may end, what they answer is stored.

        Raises DefinitionError and DependencyError before the first message; afterwards it waits for Postgres and Kafka.
        """
        self._participant.check()
        async with AsyncExitStack() as stack:
            kafka = _KafkaThread(self._settings.kafka_bootstrap_servers, self._settings.topic_prefix, self._service)
            stack.push_async_callback(kafka.close)
            await kafka.check_topics()
            if self._participant.lifespan is not None:
                self._service.deps = await stack.enter_async_context(self._participant.lifespan())
            process = _Process(self._service, self._settings.database_url)
            stack.push_async_callback(process.close)
            await process.prepare()
            await self._work(stop, kafka, process)

    async def _work(self, stop: asyncio.Event, kafka: "_KafkaThread", process: "_Process") -> None:
        await kafka.subscribe()
        background = [asyncio.create_task(task) for task in process.background()]
        loop = asyncio.create_task(self._consume(stop, kafka, process))
        self.started.set()
        try:
            done, _ = await asyncio.wait([loop, *background], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            stop.set()
            await asyncio.gather(loop, return_exceptions=True)
            await kafka.close()  # The others go on at once; what is out here ends meanwhile.
            await process.drain()
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)

    async def _consume(self, stop: asyncio.Event, kafka: "_KafkaThread", process: "_Process") -> None:
        while not stop.is_set():
            await kafka.hold_back(process.is_full())
            try:
                messages = await kafka.poll(limits.LOCAL_BATCH_MAX)
                if not messages:
                    continue
                await process.handle(messages)
                await kafka.commit(messages)
            except DependencyError as error:
                LOG.error("%s: %s; again in %g s", self._service.name, error, KAFKA_RETRY_S)
                await _pause(stop, KAFKA_RETRY_S)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return


class _KafkaThread:
    """The blocking consumer on a thread of its own."""

    def __init__(self, bootstrap: str, prefix: str, service: Service) -> None:
        self._bootstrap = bootstrap
        self._group = f"{prefix}{service.name}"
        self._topics = sorted({service.command_topic, *service.event_topics})
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"kafka {service.name}")
        self._consumer: GroupConsumer | None = None
        self._paused: list[tuple[str, int]] = []

    async def check_topics(self) -> None:
        """Raise DependencyError for a topic that is missing."""
        found = await self._in_thread(lambda: Admin(self._bootstrap).partitions(self._topics))
        if missing := sorted(set(self._topics) - found.keys()):
            raise DependencyError(
                f"no topic {', '.join(missing)} at {self._bootstrap}: make it with `amends migrate`, and compare "
                f"AMENDS_TOPIC_PREFIX here with the orchestrator's"
            )

    async def subscribe(self) -> None:
        self._consumer = await self._in_thread(
            lambda: GroupConsumer(self._bootstrap, self._group, f"amends-{self._group}")
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

    async def hold_back(self, full: bool) -> None:
        """While too much waits here, stay in the group but fetch nothing. Partitions may have come since the last look."""
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


class _Process:
    """What a participant's process does with Postgres and the outside."""

    def __init__(self, service: Service, database_url: str) -> None:
        name = service.name
        self._service = service
        self._lanes = {
            lane: Lane(database_url, f"{name} {lane}") for lane in ("inbox", "ends", "scan", "events", "state")
        }
        state = self._lanes["state"]
        self._breakers = SharedBreakers(service.participant.breakers(), name, state)
        service.breaker_of = lambda options: self._breakers.get(options.breaker)
        self._ends: asyncio.Queue[Ended] = asyncio.Queue()
        self._storing = 0
        self._later: set[asyncio.TimerHandle] = set()
        self._calls = Calls(service, state, self._ends.put_nowait)
        self._requests = Batches[Request](
            service, self._lanes["inbox"], RequestWork(self._lanes["inbox"], name), self._calls.start
        )
        self._stored_ends = Batches[Ended](service, self._lanes["ends"], EndWork(self._again), self._calls.start)
        self._follower = Follower(service, self._lanes["events"]) if service.participant.event_handlers else None
        self._event_topics = service.event_topics

    async def prepare(self) -> None:
        """The tables are there, and what they say is known."""
        name = self._service.name
        await until_connected(lambda: self._service.topics.refresh(self._lanes["state"]), name)
        await until_connected(self._breakers.declare, name)

    def background(self) -> list[Any]:
        """Coroutines that run until they are cancelled."""
        tasks = [self._store_ends(), self._scan(), self._purge(), self._calls.keep_waiting()]
        if self._follower is not None:
            tasks.append(self._follower.run())
        if any(True for _ in self._service.participant.breakers()):
            tasks.append(self._breakers.keep_fresh())
        return tasks

    def is_full(self) -> bool:
        """Too many calls wait for a place: leave the rest in Kafka."""
        return self._calls.waiting >= CALLS_WAITING_MAX

    async def handle(self, messages: Sequence[Envelope | Unreadable]) -> None:
        """Returns when all of them are committed, in one way or another."""
        participant = self._service.participant
        found = (read(message, participant, self._event_topics) for message in messages)
        requests = [request for request in found if request is not None]
        if requests:
            await self._requests.run(requests)
        if self._follower is not None:
            self._follower.ring()

    async def drain(self) -> None:
        """Let what is out come to its end, and store it."""
        end_by = time.monotonic() + DRAIN_S
        if self._follower is not None:
            await self._follower.drain(DRAIN_S)
        await self._calls.drain(end_by - time.monotonic())
        while (self._ends.qsize() or self._storing) and time.monotonic() < end_by + 5:
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        for handle in self._later:
            handle.cancel()
        for lane in self._lanes.values():
            await lane.close()

    def _again(self, ended: Ended, pause_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._later.add(loop.call_later(pause_s, self._ends.put_nowait, ended))
        self._later = {handle for handle in self._later if handle.when() > loop.time()}

    async def _store_ends(self) -> None:
        while True:
            ended = [await self._ends.get()]
            self._storing = 1
            while len(ended) < ENDS_BATCH_MAX and not self._ends.empty():
                ended.append(self._ends.get_nowait())
            try:
                await self._stored_ends.run(ended)
            finally:
                self._storing = 0

    async def _scan(self) -> None:
        while True:
            found = await self._surviving(self._scan_once, "the scan of due rows")
            if not found:
                await asyncio.sleep(scan.SCAN_S)

    async def _scan_once(self) -> int:
        lane = self._lanes["scan"]
        async with lane.transaction() as connection:
            unit = Unit(self._service, lane, connection)
            due = await unit.lock_due(scan.SCAN_ROWS_MAX)
            for entry in due:
                await scan.apply_due(unit, entry)
            await unit.flush()
        for call in unit.calls:
            self._calls.start(call)
        return len(due)

    async def _purge(self) -> None:
        while True:
            await self._surviving(self._purge_once, "the purge")
            await asyncio.sleep(scan.PURGE_S)

    async def _purge_once(self) -> int:
        async with self._lanes["scan"].transaction() as connection:
            rows = await inbox.purge(connection, scan.PURGE_ROWS_MAX)
            return rows + await inbox_events.purge(connection, limits.INBOX_HORIZON_S, scan.PURGE_ROWS_MAX)

    async def _surviving(self, once: Callable[[], Awaitable[int]], what: str) -> int:
        try:
            return await until_connected(once, self._service.name)
        except Exception:
            LOG.exception("%s: %s failed; it is tried again", self._service.name, what)
            return 0


logging.getLogger("amends.participant").addHandler(logging.NullHandler())
