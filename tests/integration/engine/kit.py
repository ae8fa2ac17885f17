"""A whole system for a test: relay, participants and orchestrators in this process, on one fresh database.

Each of them logs in under its own role; the test looks, and `url` is, as the administrator.
"""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil
import psycopg
from pydantic import SecretStr

from orchestrator import limits
from orchestrator.contracts import messages
from orchestrator.core.registry import Registry
from orchestrator.core.saga_type import SagaType
from orchestrator.engine.worker import Worker
from orchestrator.messaging.topics import PARTITIONS_DEFAULT, Topics
from orchestrator.migrations.migrate import migrate
from orchestrator.participant import Participant
from orchestrator.participant.runner import Runner
from orchestrator.settings import Settings
from outbox_relay import Relay
from tests import roles
from tests.deadlines import deadline, eventually
from tests.roles import as_role

SHARDS = 4
APP = "tests.integration.engine.program:app"


@dataclass(frozen=True, slots=True)
class _RunnerSettings:
    database_url: str
    kafka_bootstrap_servers: str
    topic_prefix: str


@dataclass(slots=True)
class System:
    """What the test talks to. `errors` are those that ended a part: a test that ends with one has failed."""

    settings: Settings  # of somebody who starts sagas, looks at them and gives verbs: client and console
    url: str  # the administrator's
    stack: ExitStack
    errors: list[BaseException] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)

    def orchestrator(
        self,
        sagas: Sequence[SagaType[Any, Any]],
        name: str = "",
        *,
        live_sagas_max: int = limits.LIVE_SAGAS_MAX,
        **settings: Any,
    ) -> Callable[[], None]:
        """Start one more orchestrator, with other settings if they are given; the function returned stops it as a
        planned stop does.
        """
        stop = threading.Event()
        used = self.settings.model_copy(update={"database_url": SecretStr(as_role(self.url, "worker")), **settings})
        worker = Worker(used, Registry(sagas), name=name, live_sagas_max=live_sagas_max)
        self.workers.append(worker)
        return self._thread(lambda: worker.run(stop), stop.set)

    def orchestrator_process(self, *, failpoints: str | None = None, app: str = APP) -> "Process":
        """One more orchestrator, as `amends orchestrator` runs it: to be killed, stopped and woken."""
        environment = {
            **os.environ,
            "DATABASE_URL": as_role(self.url, "worker"),
            "KAFKA_BOOTSTRAP_SERVERS": self.settings.kafka_bootstrap_servers,
            "AMENDS_TOPIC_PREFIX": self.settings.topic_prefix,
        }
        environment.pop("AMENDS_FAILPOINTS", None)
        if failpoints is not None:
            environment["AMENDS_FAILPOINTS"] = failpoints
        process = Process((sys.executable, "-m", "orchestrator.cli", "orchestrator", app), environment)
        self.stack.callback(process.end)
        return process

    def participants(self, participants: Sequence[Participant[Any]]) -> Callable[[], None]:
        async def run(stop: asyncio.Event) -> None:
            await asyncio.gather(*(Runner(p, used).run(stop) for p in participants))

        url = as_role(self.url, "participant")
        used = _RunnerSettings(url, self.settings.kafka_bootstrap_servers, self.settings.topic_prefix)

        return self._async_thread(run)

    def relay(self) -> Callable[[], None]:
        url = as_role(self.url, "relay")
        relay = Relay(database_url=url, kafka_bootstrap_servers=self.settings.kafka_bootstrap_servers)
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

    def ended(self, ids: Sequence[str], seconds: float = 60) -> dict[str, str]:
        """Wait until these sagas are over; id -> status. A database that was killed may be on its way back."""
        over = "SELECT id, status FROM amends.sagas WHERE id = ANY (%s) AND ended_at IS NOT NULL"

        def statuses() -> dict[str, str] | None:
            try:
                found = dict(self.rows(over, list(ids)))
            except psycopg.OperationalError:
                return None
            return found if len(found) == len(ids) else None

        return eventually(statuses, seconds, f"the end of {len(ids)} sagas")

    def execute(self, statement: str) -> None:
        """One statement, committed."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[call-overload]

    def rows(self, query: str, *params: Any) -> list[tuple[Any, ...]]:
        """What the database says now."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(query, params).fetchall()  # type: ignore[call-overload, no-any-return]


class Process:
    """A child whose output goes to the test's; it is killed at the test's end whatever state it is in."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self._popen = subprocess.Popen(command, env=environment)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def ended(self) -> bool:
        return self._popen.poll() is not None

    @property
    def stopped(self) -> bool:
        """It stands still, as SIGSTOP leaves it."""
        return psutil.Process(self.pid).status() == psutil.STATUS_STOPPED

    def signal(self, number: int) -> None:
        self._popen.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._popen.kill()
        self._popen.wait()

    def stop(self, seconds: float = 20) -> int:
        """SIGTERM, as a deploy does; its exit code."""
        self._popen.terminate()
        return self._popen.wait(deadline(seconds))

    def end(self) -> None:
        if not self.ended:
            self._popen.send_signal(signal.SIGCONT)
            self.kill()


@contextmanager
def system(
    database_url: str,
    kafka_bootstrap_servers: str,
    topic_prefix: str,
    *,
    shards: int = SHARDS,
    partitions: int = PARTITIONS_DEFAULT,
) -> Iterator[System]:
    """Migrated, with all topics of the imported message classes; nothing runs yet."""
    needed = Topics(topic_prefix).needed(messages().values(), shards=shards, partitions=partitions)
    migrate(
        database_url,
        shards=shards,
        topic_prefix=topic_prefix,
        topics=needed,
        kafka_bootstrap_servers=kafka_bootstrap_servers,
    )
    roles.grant(database_url)
    settings = Settings(
        database_url=as_role(database_url, "person"),  # type: ignore[arg-type]
        kafka_bootstrap_servers=kafka_bootstrap_servers,
        topic_prefix=topic_prefix,
        replay_every_turns=1,  # rule 18: in tests all that the thread can keep up with
    )
    with ExitStack() as stack:
        made = System(settings, database_url, stack)
        yield made
    if made.errors:
        raise made.errors[0]
