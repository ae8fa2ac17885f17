"""A9, MONEY: Kafka lost what it had acknowledged, and the new topic had grown past the old offset: a silent gap."""

import shutil
import threading

import pytest

from orchestrator import SyncClient
from orchestrator.contracts import messages
from orchestrator.local.stack import BlockingStack
from orchestrator.messaging.topics import Topics
from orchestrator.migrations.migrate import migrate
from tests.deadlines import eventually
from tests.holes.shops import balances
from tests.integration.engine.kit import SHARDS, System
from tests.integration.engine.program import Go, ledger, patient, refused

pytestmark = [pytest.mark.serial, pytest.mark.slow]


def wipe_kafka(own: BlockingStack, system: System) -> None:
    own.stop_server("kafka")
    shutil.rmtree(own.stack.var / "kafka" / "data")
    own.start_server("kafka")
    prefix = system.settings.topic_prefix
    migrate(
        system.url,
        shards=SHARDS,
        topic_prefix=prefix,
        topics=Topics(prefix).needed(messages().values(), shards=SHARDS),
        kafka_bootstrap_servers=system.settings.kafka_bootstrap_servers,
    )


@pytest.mark.xfail(
    strict=False,
    reason="OPEN: of three runs under load one passed (116 s) and two ran out of time. In one of them the "
    "orchestrator, whose shards were claimed anew from offset 0, read nothing for 80 s, "
    "with the outbox empty and no row dead",
)
def test_every_saga_ends_and_the_books_net(own_books: System, own_stack: BlockingStack) -> None:
    own_books.participants([ledger])
    own_books.orchestrator([patient, refused])
    begun: list[str] = []
    enough = threading.Event()

    def load() -> None:
        with SyncClient(own_books.settings) as client:
            while not enough.wait(0.03):
                name = f"{'pr'[len(begun) % 2]}{len(begun)}"
                client.start(patient if name[0] == "p" else refused, name, id=name)
                if name[0] == "p":
                    client.send(name, Go(), message_id="go")
                begun.append(name)

    loading = threading.Thread(target=load)
    loading.start()
    try:
        eventually(lambda: len(begun) > 40 and len(balances(own_books)) > 20, 60, "some are through, some are not")
        wipe_kafka(own_stack, own_books)
        mark = len(begun) + 20
        eventually(lambda: len(begun) > mark, 30, "more come")
    finally:
        enough.set()
        loading.join()
    statuses = own_books.ended(begun, 120)
    assert statuses == {name: "completed" if name[0] == "p" else "failed" for name in begun}
    assert balances(own_books) == {name: 30 if name[0] == "p" else 0 for name in begun}
    assert own_books.rows("SELECT key FROM bookings GROUP BY key, sign(amount) HAVING count(*) > 1") == []
