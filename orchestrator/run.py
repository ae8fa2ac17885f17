"""The composition root: builds the processes of Amends from an App and the settings. The CLI and App.running call it.

Each function imports the room that it runs when it is called, so that no process carries another's libraries: the
orchestrator has to be back within a second after a crash.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrator import limits, telemetry
from orchestrator.app import App
from orchestrator.errors import DefinitionError, DependencyError
from orchestrator.first_session import try_session
from orchestrator.monitoring.monitor import Monitor
from orchestrator.settings import Settings, read_settings

if TYPE_CHECKING:
    from orchestrator.client import Client
    from orchestrator.messaging.acls import Readers
    from orchestrator.participant import Participant

RelayMode = Literal["cdc", "polling", "external"]

LOG = logging.getLogger("amends")
VAR_DEFAULT = Path("var")
STOP_WAIT_S = 30.0  # a part that has not stopped after this long is reported and left behind


def run_orchestrator(app: App, settings: Settings) -> None:
    """Run the sagas of the app until SIGTERM or SIGINT; a planned stop hands its shards over first."""
    if not app.sagas:
        raise DefinitionError("this App has no sagas: list them, App(sagas=[…])")
    _check_names()
    try_session(settings.database_url.get_secret_value())
    _look_up_schemas(settings)
    _collect_less_often()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with Monitor(settings) as monitor:
        worker = _worker(app, settings)
        monitor.watch_worker(worker)
        worker.run(stop)


def run_participants(participants: "Sequence[Participant[Any]]", settings: Settings) -> None:
    """Run participants, all on one database, until SIGTERM or SIGINT."""
    if not participants:
        raise DefinitionError("this App has no participants: list them, App(participants=[…])")
    _check_names()
    try_session(settings.database_url.get_secret_value())
    _look_up_schemas(settings)
    _collect_less_often()
    send_last_spans = telemetry.setup(participants[0].name, settings.otel_exporter_otlp_endpoint)
    try:
        with Monitor(settings) as monitor:
            asyncio.run(_until_signal(lambda stop: _participants(participants, settings, stop, monitor)))
    finally:
        send_last_spans()


def run_relay(
    database_urls: Sequence[str], settings: Settings, mode: RelayMode = "cdc", external_slot: str | None = None
) -> None:
    """Move the outboxes of these databases to Kafka until SIGTERM or SIGINT."""
    with Monitor(settings) as monitor:
        asyncio.run(_until_signal(lambda stop: _relay(database_urls, settings, mode, stop, monitor, external_slot)))


@asynccontextmanager
async def everything(app: App, settings: Settings | None = None) -> "AsyncIterator[Client]":
    """Relay, orchestrator and participants of the app in this process, on one database; a client of it.

    The worker has a thread and relay and participants have another with an event loop of its own, so that the caller's
    code can neither hold them up nor be held up by them.
    """
    from orchestrator.client import Client

    used = (settings or read_settings(VAR_DEFAULT)).for_kafka()
    await asyncio.to_thread(prepare, app, used)
    await asyncio.to_thread(_look_up_schemas, used)
    stop_worker, stop_services = threading.Event(), _Stop()
    try:
        async with AsyncExitStack() as stack:
            stack.callback(telemetry.setup("amends-dev", used.otel_exporter_otlp_endpoint))
            monitor = stack.enter_context(Monitor(used))
            parts = await stack.enter_async_context(asyncio.TaskGroup())
            stack.callback(stop_services.set)
            parts.create_task(
                _in_thread("amends services", lambda: asyncio.run(_services(app, used, stop_services, monitor)))
            )
            if app.sagas:
                worker = _worker(app, used)
                monitor.watch_worker(worker)
                stack.callback(stop_worker.set)
                parts.create_task(_in_thread("amends orchestrator", lambda: worker.run(stop_worker)))
            yield await stack.enter_async_context(Client(used))
    except BaseExceptionGroup as group:
        # The caller's block is no task of a group in his eyes: his own error comes out as he raised it.
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise


def prepare(app: App, settings: Settings) -> None:
    """Make the database of the local stack if it is missing, migrate it, and create the topics of the app."""
    from orchestrator.migrations import migrate

    url = settings.database_url.get_secret_value()
    ensure_database(url)
    migrate(
        url,
        topic_prefix=settings.topic_prefix,
        topics=topics_of(app, settings.topic_prefix),
        kafka_bootstrap_servers=settings.kafka_bootstrap_servers,
        kafka_login=settings.kafka_login(),
    )


def topics_of(app: App | None, prefix: str) -> dict[str, int]:
    """The command and event topics of what is imported (by the app or anybody), full names -> partitions.

    A saga calls commands that its process only imports, so the imported classes say more than the App's lists do.
    """
    from orchestrator.contracts import messages
    from orchestrator.messaging.topics import PARTITIONS_DEFAULT, Topics
    from orchestrator.participant.service import Service

    topics = Topics(prefix)
    needed = topics.needed(messages().values(), shards=1)
    needed.pop(topics.sagas)  # `migrate` knows how many shards there are
    for participant in app.participants if app else ():
        for topic in Service(participant, topics).topics_read:
            needed.setdefault(topic, PARTITIONS_DEFAULT)
    return needed


def readers_of(app: App | None, prefix: str) -> "Readers":
    """The topics of what is imported, and who reads which: what a participant of the app handles, else its commands."""
    from orchestrator.contracts import Command, messages
    from orchestrator.messaging.acls import Readers
    from orchestrator.messaging.topics import Topics
    from orchestrator.participant.service import Service

    topics = Topics(prefix)
    commanded = {cls.__service__ for cls in messages().values() if issubclass(cls, Command)}
    services = {name: frozenset({topics.commands(name)}) for name in commanded}
    for participant in app.participants if app else ():
        service = Service(participant, topics)
        services[participant.name] = service.topics_read
    return Readers(topics, frozenset(topics_of(app, prefix)), services)


def ensure_database(url: str) -> None:
    """Create the database if its server does not have it, and we may."""
    import psycopg
    from psycopg import sql
    from psycopg.conninfo import conninfo_to_dict

    name = str(conninfo_to_dict(url).get("dbname") or "")
    try:
        psycopg.connect(url, connect_timeout=10).close()
        return
    except psycopg.OperationalError as error:
        if f'database "{name}" does not exist' not in str(error):
            raise DependencyError(f"Postgres is not reachable: {' '.join(str(error).split())}") from error
    with (
        psycopg.connect(url, dbname="postgres", autocommit=True) as connection,
        suppress(psycopg.errors.DuplicateDatabase),
    ):
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


@dataclass(frozen=True, slots=True)
class _ParticipantSettings:
    """What a participant's runner reads."""

    database_url: str
    kafka_bootstrap_servers: str
    topic_prefix: str


class _Stop:
    """Set from any thread, waited for on the event loop that made its Event."""

    def __init__(self) -> None:
        self._wanted = threading.Event()
        self._event: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def event(self) -> asyncio.Event:
        self._event, self._loop = asyncio.Event(), asyncio.get_running_loop()
        if self._wanted.is_set():
            self._event.set()
        return self._event

    def set(self) -> None:
        self._wanted.set()
        if self._loop is not None and self._event is not None:
            with suppress(RuntimeError):  # The loop has ended by itself.
                self._loop.call_soon_threadsafe(self._event.set)


def _collect_less_often() -> None:
    """What was imported stays for ever and is not looked through again."""
    gc.freeze()
    gc.set_threshold(*limits.COLLECT_AFTER)


def _check_names() -> None:
    """Two classes under one name on the wire: whoever reads such a message could get the wrong one."""
    from orchestrator.contracts import clashing_names
    from orchestrator.errors import clashing_failures

    for name, places in sorted({**clashing_names(), **clashing_failures()}.items()):
        raise DefinitionError(
            f"{name} is the name on the wire of several classes: {', '.join(places)}. Give one of them another: "
            f"name= for a message, wire_name= for a Failure"
        )


def _look_up_schemas(settings: Settings) -> None:
    """The ids of what this process writes, before it writes: what nobody registered is the deploy's error."""
    if settings.schema_registry_url is not None:
        from orchestrator.messaging import framing

        framing.prepare(settings)


def _worker(app: App, settings: Settings) -> Any:
    from orchestrator.core.registry import Registry
    from orchestrator.engine.worker import Worker
    from orchestrator.messaging import avro

    avro.use_schemas(settings.schemas_dir)
    return Worker(
        settings.for_kafka(),
        Registry(app.sagas),
        databases=app.databases,
        lifespan=app.lifespan,
        name=settings.worker_name or f"{socket.gethostname()}-{os.getpid()}",
    )


async def _services(app: App, settings: Settings, stop: _Stop, monitor: Monitor) -> None:
    event = stop.event()
    async with asyncio.TaskGroup() as parts:
        parts.create_task(_relay([settings.database_url.get_secret_value()], settings, "cdc", event, monitor))
        if app.participants:
            parts.create_task(_participants(app.participants, settings, event, monitor))


async def _participants(
    participants: "Iterable[Participant[Any]]", settings: Settings, stop: asyncio.Event, monitor: Monitor
) -> None:
    from orchestrator.participant.runner import Runner

    used = _ParticipantSettings(
        settings.database_url.get_secret_value(),
        settings.for_kafka().kafka_bootstrap_servers,
        settings.topic_prefix,
    )
    login = settings.kafka_login()
    try:
        runners = [
            Runner(participant, used, schemas_dir=settings.schemas_dir, kafka_login=login)
            for participant in participants
        ]
        monitor.watch_participants(runners)
        async with asyncio.TaskGroup() as parts:
            for runner in runners:
                parts.create_task(runner.run(stop))
    except BaseExceptionGroup as group:
        # What one of them can't begin with (a missing topic, a missing right) is an answer to whoever started it.
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise


async def _relay(
    database_urls: Sequence[str],
    settings: Settings,
    mode: RelayMode,
    stop: asyncio.Event,
    monitor: Monitor,
    external_slot: str | None = None,
) -> None:
    from outbox_relay import Relay, Relays

    relays = [
        Relay(
            database_url=url,
            kafka_bootstrap_servers=settings.for_kafka().kafka_bootstrap_servers,
            mode=mode,
            kafka_config=settings.kafka_login(),
            external_slot=external_slot,
            sent_kept_s=settings.outbox_sent_kept_s,
        )
        for url in database_urls
    ]
    monitor.watch_relays(list(zip(relays, database_urls, strict=True)))
    await Relays(relays).run(stop)


async def _until_signal(run: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run(stop)


async def _in_thread(name: str, run: Callable[[], None]) -> None:
    """Run a blocking part in a thread of its own; its error comes out here. Cancelled, it still waits for the end.

    A daemon: what does not stop in time must not keep a script from ending.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def tell(error: BaseException | None) -> None:
        if not ended.done():
            ended.set_exception(error) if error is not None else ended.set_result(None)

    def work() -> None:
        error: BaseException | None = None
        try:
            run()
        except BaseException as caught:
            error = caught
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(tell, error)

    threading.Thread(target=work, name=name, daemon=True).start()
    try:
        await asyncio.shield(ended)
    except asyncio.CancelledError:
        await asyncio.wait([ended], timeout=STOP_WAIT_S)
        if not ended.done():
            LOG.warning("%s has not stopped within %g s and is left behind", name, STOP_WAIT_S)
        raise
