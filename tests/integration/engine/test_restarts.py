"""Servers restart, die and lose what they had in mid-run: everything goes on by itself, and the books balance."""

import shutil
import signal
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

from orchestrator import SyncClient
from orchestrator.contracts import messages
from orchestrator.local.stack import BlockingStack
from orchestrator.messaging.topics import Topics
from orchestrator.migrations.migrate import migrate
from tests.deadlines import deadline, eventually
from tests.integration.engine import kit, program
from tests.integration.engine.kit import SHARDS, System
from tests.integration.engine.program import Go, ledger, parent, patient, refused, transfer
from tests.integration.engine.test_takeover import check_books
from tests.servers import create_database

pytestmark = [pytest.mark.serial, pytest.mark.slow, pytest.mark.timeout(600)]

OUTAGE_S = 3.0
AMOUNTS = {"t": 30, "r": 0, "p": 30, "c": 0}  # by the first letter of a saga's id: what stays in its account
STATUSES = {"t": "completed", "r": "failed", "p": "completed", "c": "failed"}


@pytest.fixture
def own(own_stack: BlockingStack) -> Iterator[System]:
    """Relay, participant and two orchestrators as processes, on servers of their own."""
    url = create_database(own_stack.stack.database_url)
    with kit.system(url, own_stack.stack.kafka_bootstrap_servers, "own.") as system:
        for statement in program.TABLES.split(";"):
            if statement.strip():
                system.execute(statement)
        system.relay()
        system.participants([ledger])
        orchestrators = [system.orchestrator_process() for _ in range(2)]
        yield system
        assert not any(one.ended for one in orchestrators), "an orchestrator has died of it"


def insistently(what: Callable[[], object]) -> None:
    """A client whose database is away, or whose session was ended, asks again: every request may be repeated."""

    def asked() -> bool:
        try:
            what()
        except psycopg.Error:
            return False
        return True

    eventually(asked, 60, "the database takes a request")


class Traffic:
    """Sagas of each kind, some of which wait for a message."""

    def __init__(self, system: System, client: SyncClient) -> None:
        self._system, self._client = system, client
        self.ids: list[str] = []

    def start(self, count: int) -> list[str]:
        """`count` of each kind; the ids of those that wait."""
        began = len(self.ids)
        for n in range(began, began + count):
            for kind in (transfer, refused, patient):
                self._start(kind, f"{kind.name[0]}{n}")
        self._start(parent, f"c{began}")
        return [saga_id for saga_id in self.ids[began:] if saga_id.startswith("p")]

    def _start(self, kind: object, saga_id: str) -> None:
        insistently(lambda: self._client.start(kind, saga_id, id=saga_id))
        self.ids.append(saga_id)

    def wake(self, ids: list[str]) -> None:
        for saga_id in ids:
            insistently(lambda saga_id=saga_id: self._client.send(saga_id, Go(), message_id="go"))

    def check(self) -> None:
        """All have ended as they should, and each booking was made once and taken back where it had to be."""
        ended = self._system.ended(self.ids, 120)
        assert ended == {saga_id: STATUSES[saga_id[0]] for saga_id in self.ids}
        check_books(self._system, {saga_id: AMOUNTS[saga_id[0]] for saga_id in self.ids})
        assert self._system.rows("SELECT account FROM debits GROUP BY account HAVING count(*) > 1") == []
        assert self._system.rows("SELECT 1 FROM amends.dead_letters WHERE kind <> 'message'") == []


def under_way(system: System, bookings: int) -> None:
    eventually(lambda: len(system.rows("SELECT 1 FROM bookings")) >= bookings, 60, f"{bookings} bookings")


@pytest.fixture
def traffic(own: System) -> Iterator[Traffic]:
    with SyncClient(own.settings) as client:
        yield Traffic(own, client)


def test_postgres_is_stopped_and_started(own: System, traffic: Traffic, own_stack: BlockingStack) -> None:
    waiting = traffic.start(8)
    under_way(own, 10)
    own_stack.stop_server("postgres")
    time.sleep(OUTAGE_S)
    own_stack.start_server("postgres")
    waiting += traffic.start(4)
    traffic.wake(waiting)
    traffic.check()


def test_postgres_is_killed_again_and_again(own: System, traffic: Traffic, own_stack: BlockingStack) -> None:
    waiting: list[str] = []
    for _ in range(3):
        waiting += traffic.start(4)
        traffic.wake(waiting[::2])
        own_stack.server("postgres").signal(signal.SIGKILL)
    traffic.wake(waiting)
    traffic.check()


def test_all_sessions_are_ended_again_and_again(own: System, traffic: Traffic) -> None:
    waiting: list[str] = []
    for n in range(15):
        if n % 5 == 0:
            waiting += traffic.start(4)
        with psycopg.connect(own.url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        time.sleep(0.4)  # the pace of the kills: now and then something is half done
    traffic.wake(waiting)
    traffic.check()


def test_kafka_is_killed_and_stays_away_for_a_while(own: System, traffic: Traffic, own_stack: BlockingStack) -> None:
    waiting = traffic.start(8)
    under_way(own, 10)
    own_stack.server("kafka").signal(signal.SIGKILL)
    traffic.wake(waiting[:4])
    own_stack.stop_server("kafka")
    waiting += traffic.start(4)
    time.sleep(OUTAGE_S)
    own_stack.start_server("kafka")
    traffic.wake(waiting)
    traffic.check()


def test_both_are_away_at_once(own: System, traffic: Traffic, own_stack: BlockingStack) -> None:
    waiting = traffic.start(6)
    under_way(own, 5)
    own_stack.stop_server("kafka")
    own_stack.server("postgres").signal(signal.SIGKILL)
    traffic.wake(waiting)
    time.sleep(OUTAGE_S)
    own_stack.start_server("kafka")
    traffic.check()


def test_kafka_has_lost_all_it_had(own: System, traffic: Traffic, own_stack: BlockingStack) -> None:
    """What is open leaves Postgres again: commands and undos from the journals, the rest from outbox_sent."""
    waiting = traffic.start(8)
    under_way(own, 20)
    own_stack.stop_server("kafka")
    lost = own_stack.stack.var / "kafka" / "data"
    assert lost.is_dir()
    shutil.rmtree(lost)
    waiting += traffic.start(4)
    traffic.wake(waiting[::2])
    own_stack.start_server("kafka")
    migrate(
        own.url,
        shards=SHARDS,
        topic_prefix="own.",
        topics=Topics("own.").needed(messages().values(), shards=SHARDS),
        kafka_bootstrap_servers=own_stack.stack.kafka_bootstrap_servers,
    )
    began = time.monotonic()
    traffic.wake(waiting)
    traffic.check()
    assert time.monotonic() - began < deadline(60), "it took a sweep that comes once a minute to notice"
