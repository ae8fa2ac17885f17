"""A1, MONEY: after an outage the timeouts came before the answers that lay in Kafka, and good orders were undone."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from orchestrator import Retry, Saga, SyncClient, saga
from orchestrator.local.stack import BlockingStack
from tests.deadlines import eventually
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
CALM_S = 15


@saga
async def calm_clock(s: Saga, account: str) -> str:
    async with asyncio.timeout(CALM_S):
        await s.call(Post(account=account, amount=10))
    return "posted"


@saga
async def calm_call(s: Saga, account: str) -> str:
    await s.call(Post(account=account, amount=10), timeout=timedelta(seconds=CALM_S), retry=Retry.never)
    return "posted"


def start_both(client: SyncClient, count: int, sagas: list = SAGAS) -> list[str]:
    ids = [f"{one.name}-{n}" for one in sagas for n in range(count)]
    for id in ids:
        client.start(next(one for one in sagas if id.startswith(one.name)), id, id=id)
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


@contextmanager
def stood_still(own: BlockingStack, name: str) -> Iterator[None]:
    own.server(name).signal(signal.SIGSTOP)
    try:
        yield
    finally:
        own.server(name).signal(signal.SIGCONT)


@pytest.mark.serial
@pytest.mark.slow
def test_kafka_stood_still_longer_than_anybodys_patience(bare_books: System, own_stack: BlockingStack) -> None:
    """Everything had been done and answered, and no answer could leave."""
    sagas = [calm_clock, calm_call]
    stop_relay = bare_books.relay()
    bare_books.orchestrator(sagas)
    with SyncClient(bare_books.settings) as client:
        ids = start_both(client, 10, sagas)
        eventually(lambda: decided(bare_books, "call") == 20, CALM_S, "all commands are written")
    eventually(lambda: outbox_is_empty(bare_books), CALM_S, "all commands are in Kafka")
    stop_relay()
    bare_books.participants([ledger])
    answered = "SELECT 1 FROM amends.outbox WHERE kind = 'reply' OFFSET 19"
    eventually(lambda: bare_books.rows(answered), CALM_S, "all answers lie in the outbox")
    with stood_still(own_stack, "kafka"):
        bare_books.relay()
        late = "SELECT 1 WHERE (SELECT max(wake_us) / 1e6 FROM amends.journal) < extract(epoch FROM now()) - 1"
        eventually(lambda: bare_books.rows(late), CALM_S * 3, "all clocks have run out")
        assert bare_books.rows(answered)
    nobody_gave_up(bare_books, ids)
