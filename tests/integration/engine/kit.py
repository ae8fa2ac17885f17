"""A whole system for a test: relay, participants and orchestrators in this process, on one fresh database."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg

from orchestrator.contracts import messages
from orchestrator.core.registry import Registry
from orchestrator.core.saga_type import SagaType
from orchestrator.engine.worker import Worker
from orchestrator.messaging.topics import Topics
from orchestrator.migrations.migrate import migrate
from orchestrator.participant import Participant
from orchestrator.participant.runner import Runner
from orchestrator.settings import Settings
from outbox_relay import Relay

SHARDS = 4


@dataclass(frozen=True, slots=True)
class _RunnerSettings:
    database_url: str
    kafka_bootstrap_servers: str
    topic_prefix: str


@dataclass(slots=True)
class System:
    """What the test talks to. `errors` are those that ended a part: a test that ends with one has failed."""

    settings: Settings
    stack: ExitStack
    errors: list[BaseException] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.settings.database_url.get_secret_value()

    def orchestrator(self, sagas: Sequence[SagaType[Any, Any]], name: str = "") -> Callable[[], None]:
        """Start one more orchestrator; the function returned stops it as a planned stop does."""
        stop = threading.Event()
        worker = Worker(self.settings, Registry(sagas), name=name)
        return self._thread(lambda: worker.run(stop), stop.set)

    def participants(self, participants: Sequence[Participant[Any]]) -> Callable[[], None]:
        async def run(stop: asyncio.Event) -> None:
            await asyncio.gather(*(Runner(p, used).run(stop) for p in participants))

        used = _RunnerSettings(self.url, self.settings.kafka_bootstrap_servers, self.settings.topic_prefix)

        return self._async_thread(run)

    def relay(self) -> Callable[[], None]:
        relay = Relay(database_url=self.url, kafka_bootstrap_servers=self.settings.kafka_bootstrap_servers)
        return self._async_thread(relay.run)

    def _async_thread(self, run: Callable[[asyncio.Event], Any]) -> Callable[[], None]:
        loop, stop = asyncio.new_event_loop(), asyncio.Event()

        def work() -> None:
            asyncio.set_event_loop(loop)
            loop.run_until_complete(run(stop))

        return self._thread(work, lambda: loop.call_soon_threadsafe(stop.set))

    def _thread(self, work: Callable[[], None], stop: Callable[[], object]) -> Callable[[], None]:
        def guarded() -> None:
            try:
                work()
            except BaseException as error:
                self.errors.append(error)

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()

        def end() -> None:
            if thread.is_alive():
                stop()
            thread.join(20)
            assert not thread.is_alive(), "a part did not stop within 20 s"

        self.stack.callback(end)
        return end

    def rows(self, query: str, *params: Any) -> list[tuple[Any, ...]]:
        """What the database says now."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(query, params).fetchall()  # type: ignore[call-overload, no-any-return]


@contextmanager
def system(database_url: str, kafka_bootstrap_servers: str, topic_prefix: str) -> Iterator[System]:
    """Migrated, with all topics of the imported message classes; nothing runs yet."""
    needed = Topics(topic_prefix).needed(messages().values(), shards=SHARDS)
    migrate(
        database_url,
        shards=SHARDS,
        topic_prefix=topic_prefix,
        topics=needed,
        kafka_bootstrap_servers=kafka_bootstrap_servers,
    )
    settings = Settings(
        database_url=database_url,  # type: ignore[arg-type]
        kafka_bootstrap_servers=kafka_bootstrap_servers,
        topic_prefix=topic_prefix,
    )
    with ExitStack() as stack:
        made = System(settings, stack)
        yield made
    if made.errors:
        raise made.errors[0]
