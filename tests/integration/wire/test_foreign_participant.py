"""A service in another language: everything that a participant has to do, by a program with nothing of ours."""

import ast
import signal
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from confluent_kafka import Producer

from orchestrator import Failure, Retry, Saga, SyncClient, saga
from orchestrator.core.ids import OperationKey
from orchestrator.errors import OperationFailed
from orchestrator.messaging import outgoing
from orchestrator.messaging.topics import Topics
from tests.deadlines import deadline, eventually
from tests.integration.engine.kit import System
from tests.integration.wire.conftest import FOREIGN, Strangers, books
from tests.integration.wire.contracts import (
    Balance,
    DayClosed,
    Deposit,
    Deposited,
    LimitExceeded,
    Means,
    Note,
    Paid,
    Shred,
)

NOON = datetime(2026, 1, 2, 12, 0, 0, 250_000, tzinfo=UTC)
THEIRS = {"confluent_kafka", "fastavro"}


class ShopClosed(Failure):
    reason: str


def deposit(account: str, amount: str) -> Deposit:
    return Deposit(account=account, amount=Decimal(amount), at=NOON)


@saga
async def shift(s: Saga, account: str) -> Deposited:
    """Two deposits, the second with all that a command can hold; then a plain number, and an event."""
    await s.call(deposit(account, "10.50"))
    second = Deposit(
        account=account,
        amount=Decimal("2.25"),
        at=NOON,
        means=Means.CARD,
        notes=[Note(text="zwölf", at=NOON), Note(text="", at=NOON)],
        coins={"0.50": 3},
        hint="left",
    )
    answer = await s.call(second)
    assert await s.call(Balance(account=account)) == 1275
    s.publish(DayClosed(day=account))
    return answer


@saga
async def too_much(s: Saga, account: str) -> None:
    await s.call(deposit(account, "600"))
    await s.call(deposit(account, "600.01"))


@saga
async def fails_later(s: Saga, account: str) -> None:
    await s.call(deposit(account, "10"))
    await s.call(deposit(account, "20"))
    raise ShopClosed(reason="late")


@saga
async def told_to_fail(s: Saga, account: str) -> None:
    await s.call(deposit(account, "10"))
    await s.call(deposit(account, "20"))
    s.set("waits", True)
    await s.receive(Paid)
    raise ShopClosed(reason="told")


@saga
async def single(s: Saga, account: str) -> UUID:
    return (await s.call(deposit(account, "10"), retry=Retry(max_attempts=3, first_delay_s=0.1))).receipt


@saga
async def shreds(s: Saga, account: str) -> str:
    try:
        await s.call(Shred(account=account), retry=Retry(max_attempts=2, first_delay_s=0.1))
    except OperationFailed as error:
        return f"{error.error_type} {error.effect} {error.attempts}"
    return "shredded"


@saga
async def collects(s: Saga, _: int) -> str:
    first = await s.receive(Paid)
    second = await s.receive(Paid, channel="counter")
    return f"{first.amount} {second.amount}"


SAGAS = (shift, too_much, fails_later, told_to_fail, single, shreds, collects)


@pytest.fixture
def running(system: System) -> System:
    system.relay()
    system.orchestrator(SAGAS)
    return system


@pytest.mark.parametrize("program", FOREIGN, ids=lambda path: path.name)
def test_it_has_nothing_of_ours(program: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(program.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a neighbour's module"
            imported.add((node.module or "").partition(".")[0])
    assert imported & THEIRS
    assert imported - THEIRS <= sys.stdlib_module_names - {"importlib", "runpy"}
    assert "__import__" not in program.read_text()


def test_a_saga_calls_it_and_completes_and_events_go_both_ways(running: System, strangers: Strangers) -> None:
    running.execute("CREATE TABLE booked (key text NOT NULL, account text NOT NULL, amount numeric NOT NULL)")
    running.participants([books])
    strangers.till()
    with SyncClient(running.settings) as client:
        answer = client.run(shift, "monday", id="shift-monday", timeout=deadline(60))
    ((uid,),) = running.rows("SELECT uid::text FROM amends.sagas")
    assert answer.balance == Decimal("12.75")
    assert answer.booked_at == NOON
    assert answer.note == Note(text="zwölf", at=NOON)
    assert isinstance(answer.receipt, UUID)
    assert strangers.ledger("monday") == ["10.50", "2.25"]
    booked = "SELECT account, amount, key FROM booked ORDER BY key"
    told = eventually(lambda: found if len(found := running.rows(booked)) == 2 else None, 30, "the till's events here")
    assert told == [("monday", Decimal("10.50"), f"{uid}:0:0"), ("monday", Decimal("2.25"), f"{uid}:0:1")]
    assert eventually(lambda: strangers.rows("SELECT day FROM followed"), 30, "the saga's event there") == [("monday",)]
    settled = "SELECT count(*) FROM inbox WHERE settled"
    eventually(lambda: strangers.rows(settled) == [(3,)], 30, "the notice that these rows may go")
    assert strangers.rows("SELECT * FROM dead") == []


def test_its_failure_arrives_as_that_class_and_what_was_done_before_is_taken_back(
    running: System, strangers: Strangers
) -> None:
    strangers.till()
    with SyncClient(running.settings) as client, pytest.raises(LimitExceeded) as raised:
        client.run(too_much, "rich", id="too-much", timeout=deadline(60))
    assert (raised.value.account, raised.value.limit) == ("rich", Decimal(1000))
    assert strangers.ledger("rich") == ["600", "-600"]
    states = "SELECT state FROM inbox ORDER BY key"
    assert strangers.rows(states) == [("undone",), ("failed",)]


def test_a_saga_that_fails_later_has_its_undos_run_there_once_newest_first(
    running: System, strangers: Strangers
) -> None:
    strangers.till()
    with SyncClient(running.settings) as client, pytest.raises(ShopClosed):
        client.run(fails_later, "late", id="fails-later", timeout=deadline(60))
    assert strangers.ledger("late") == ["10", "20", "-20", "-10"]


def test_what_it_can_not_do_now_is_asked_again_and_what_it_has_never_heard_of_ends_without_effect(
    running: System, strangers: Strangers
) -> None:
    strangers.till()
    with SyncClient(running.settings) as client:
        client.run(single, "busy-bee", id="busy", timeout=deadline(60))
        assert client.run(shreds, "paper", id="shreds", timeout=deadline(60)) == "NoHandler none 2"
    assert strangers.ledger("busy-bee") == ["10"]
    assert strangers.rows("SELECT attempt FROM inbox") == [(2,)]  # and no row for what was refused


@pytest.mark.slow  # the group waits for its dead member
def test_killed_between_handling_and_answering_it_answers_from_its_inbox(running: System, strangers: Strangers) -> None:
    doomed = strangers.till(dies_before_answering="killed")
    with SyncClient(running.settings) as client:
        client.start(single, "k", id="killed")
        assert doomed.wait(deadline(60)) == -signal.SIGKILL
        assert strangers.ledger("k") == ["10"]
        assert strangers.rows("SELECT state FROM inbox") == [("done",)]
        assert running.rows("SELECT status FROM amends.sagas") == [("running",)]  # the answer never left
        strangers.till()
        assert isinstance(client.result(single, "killed", timeout=deadline(60)), UUID)
    assert strangers.ledger("k") == ["10"]


@pytest.mark.slow  # the group waits for its dead member
def test_killed_between_an_undo_and_its_answer_it_undoes_once(running: System, strangers: Strangers) -> None:
    first = strangers.till()
    with SyncClient(running.settings) as client:
        client.start(told_to_fail, "u", id="undone")
        values = "SELECT 1 FROM amends.saga_values WHERE key = 'waits'"
        eventually(lambda: running.rows(values), 60, "both deposits answered")
        first.kill()
        first.wait()
        doomed = strangers.till(dies_before_answering="undone")
        client.send("undone", Paid(amount=Decimal(0)))
        assert doomed.wait(deadline(60)) == -signal.SIGKILL
        assert strangers.ledger("u") == ["10", "20", "-20"]
        strangers.till()
        with pytest.raises(ShopClosed):
            client.result(told_to_fail, "undone", timeout=deadline(120))
    assert strangers.ledger("u") == ["10", "20", "-20", "-10"]


def test_a_forged_answer_in_its_name_is_ignored_and_counted(running: System, strangers: Strangers) -> None:
    with SyncClient(running.settings) as client:
        client.start(single, "f", id="forged")
        journal = "SELECT uid, s.shard FROM amends.sagas s JOIN amends.journal USING (saga_no)"
        ((uid, shard),) = eventually(lambda: running.rows(journal), 30, "the call in the journal")
        topic = Topics(running.settings.topic_prefix).sagas
        key = str(OperationKey(str(uid), 0, 0))
        to = outgoing.ReturnAddress(
            reply_to=f"{topic}/{shard}", saga_id="forged", operation_key=key, attempt=1, nonce="0" * 32
        )
        body = {"balance": "1", "receipt": str(UUID(int=7)), "booked_at": NOON.isoformat(), "note": None}
        row = outgoing.succeeded_row(to, command=Deposit, body=body)
        headers = [("id", str(uuid4()).encode()), ("type", row.type.encode())]
        headers += [(name, text.encode()) for name, text in row.headers.items()]
        producer = Producer({"bootstrap.servers": running.settings.kafka_bootstrap_servers})
        producer.produce(topic, row.payload, b"forged", shard, headers=headers)
        assert producer.flush(30) == 0
        ignored = "SELECT count FROM amends.ignored WHERE reason = %s AND last_saga_id = 'forged'"
        reason = "forged: the answer's nonce is not ours"
        assert eventually(lambda: running.rows(ignored, reason), 30, "the forgery, counted") == [(1,)]
        strangers.till()
        assert client.result(single, "forged", timeout=deadline(60)) != UUID(int=7)


def test_a_client_that_is_none_of_ours_starts_a_saga_and_sends_it_messages(
    running: System, strangers: Strangers
) -> None:
    early = str(uuid4())
    for _ in range(2):  # before its saga, and twice
        strangers.client("send", saga_id="collects-1", type="Paid", message={"amount": "45.00"}, id=early)
    for _ in range(2):
        strangers.client("start", saga_id="collects-1", type="collects", version=1, input=0)
    amount = {"amount": "1"}
    strangers.client("send", saga_id="collects-1", type="Paid", message=amount, id=str(uuid4()), channel="counter")
    with SyncClient(running.settings) as client:
        assert running.ended(["collects-1"]) == {"collects-1": "completed"}
        assert client.result(collects, "collects-1", timeout=deadline(30)) == "45.00 1"
        assert client.start(collects, 0, id="collects-1").created is False
