"""A1, MONEY: after an outage the timeouts were read before the answers that lay in Kafka, and good orders were
undone.
"""

import asyncio
import signal
from datetime import timedelta

import psycopg
import pytest

from orchestrator import Retry, Saga, SyncClient, saga
from orchestrator.local.stack import BlockingStack
from tests.deadlines import deadline, eventually
from tests.holes.shops import balances, decided, outbox_is_empty
from tests.integration.engine.kit import System
from tests.integration.engine.program import Post, ledger

PATIENCE_S = 3


@saga
async def hasty_clock(s: Saga, account: str) -> str:
    """The clock is the saga's own: a claim does not set it back."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            await s.call(Post(account=account, amount=10))
    except TimeoutError:
        return "gave up"
    return "posted"


@saga
async def hasty_call(s: Saga, account: str) -> str:
    await s.call(Post(account=account, amount=10), timeout=timedelta(seconds=PATIENCE_S), retry=Retry.never)
    return "posted"


SAGAS = [hasty_clock, hasty_call]


def start_both(client: SyncClient, count: int) -> list[str]:
    ids = [f"{one.name}-{n}" for one in SAGAS for n in range(count)]
    for id in ids:
        client.start(hasty_clock if id.startswith(hasty_clock.name) else hasty_call, id, id=id)
    return ids


def nobody_gave_up(system: System, ids: list[str]) -> None:
    assert system.ended(ids) == dict.fromkeys(ids, "completed")
    assert set(system.rows("SELECT result FROM amends.sagas")) == {('"posted"',)}
    assert (decided(system, "call"), decided(system, "undo")) == (len(ids), 0)
    assert balances(system) == dict.fromkeys(ids, 10)


def test_the_orchestrator_was_down_while_all_answers_came(quiet_books: System) -> None:
    stop = quiet_books.orchestrator(SAGAS)
    with SyncClient(quiet_books.settings) as client:
        ids = start_both(client, 50)
        eventually(lambda: decided(quiet_books, "call") == 100, 30, "all commands are written")
        stop()
    eventually(lambda: outbox_is_empty(quiet_books), 30, "all commands are in Kafka")
    quiet_books.participants([ledger])
    answered = "SELECT 1 FROM amends.inbox WHERE state = 'done' OFFSET 99"
    eventually(lambda: quiet_books.rows(answered) and outbox_is_empty(quiet_books), 30, "all answers are in Kafka")
    late = "SELECT 1 WHERE (SELECT max(wake_us) / 1e6 FROM amends.journal) < extract(epoch FROM now())"
    eventually(lambda: quiet_books.rows(late), 30, "all clocks have run out")
    quiet_books.orchestrator(SAGAS)
    nobody_gave_up(quiet_books, ids)


@pytest.mark.serial
@pytest.mark.slow
def test_kafka_stood_still_while_all_answers_waited_for_it(own_books: System, own_stack: BlockingStack) -> None:
    """The participant works, its answers lie in the outbox, and the time of all is up before Kafka goes on."""
    own_books.participants([ledger])
    own_books.orchestrator(SAGAS)
    with SyncClient(own_books.settings) as client, psycopg.connect(own_books.url) as gate:
        client.run(hasty_call, "warm", id="warm", timeout=deadline(60))
        gate.execute("LOCK TABLE bookings IN EXCLUSIVE MODE")
        ids = ["warm", *start_both(client, 10)]
        eventually(lambda: decided(own_books, "call") == 21 and outbox_is_empty(own_books), 30, "commands in Kafka")
        waits = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'bookings'::regclass"
        eventually(lambda: own_books.rows(waits), 10, "the participant is at work")
        own_stack.server("kafka").signal(signal.SIGSTOP)
        gate.rollback()
        late = (
            f"SELECT 1 WHERE (SELECT max(wake_us) / 1e6 FROM amends.journal) + {PATIENCE_S} < extract(epoch FROM now())"
        )
        eventually(lambda: own_books.rows(late), 60, "all clocks have run out, twice")
        assert decided(own_books, "undo") == 0
        own_stack.server("kafka").signal(signal.SIGCONT)
        nobody_gave_up(own_books, ids)
