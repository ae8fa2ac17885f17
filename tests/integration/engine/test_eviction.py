"""Memory is a cache: what is not in it comes out of the journal, also in the middle of a step. And many at once."""

import threading

import pytest

from orchestrator import Message, Saga, SyncClient, limits, saga
from tests.deadlines import deadline, eventually
from tests.integration.engine.kit import System

PARKED = 60
RESIDENTS_MAX = 5
MANY = 2_000
TURNS = "SELECT count(*)::int FROM amends.journal"


class Wake(Message):
    n: int


class Gate:
    """A step in this process that waits until the test lets it go on."""

    def __init__(self) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()
        self.runs = 0


GATE = Gate()


def through_the_gate(n: int) -> int:
    GATE.runs += 1
    GATE.entered.set()
    assert GATE.opened.wait(60)
    return n


@saga
async def parked(s: Saga, n: int) -> int:
    first = (await s.receive(Wake)).n
    second = (await s.receive(Wake)).n
    return n + first + second


@saga
async def gated(s: Saga, n: int) -> int:
    return await s.step(through_the_gate, n)


@saga
async def short(s: Saga, n: int) -> int:
    return n


def start_many(system: System, name: str, count: int) -> list[str]:
    """All in one transaction of one client."""
    ids = [f"{name}{n}" for n in range(count)]
    with SyncClient(system.settings) as client:
        import psycopg

        with psycopg.connect(system.url) as connection:
            for n, saga_id in enumerate(ids):
                client.start(short if name == "m" else parked, n, id=saga_id, connection=connection)
    return ids


def test_parked_sagas_are_evicted_come_back_and_finish(system: System) -> None:
    system.relay()
    system.orchestrator([parked], live_sagas_max=RESIDENTS_MAX)
    cache = system.workers[-1]._cache
    ids = start_many(system, "p", PARKED)
    with SyncClient(system.settings) as client:
        for round_no in (1, 2):
            begun = f"the turns of round {round_no}"
            eventually(lambda n=round_no: system.rows(TURNS) == [(PARKED * n,)], 60, begun)
            eventually(lambda: len(cache) <= RESIDENTS_MAX, 10, "only a few are in memory")
            for n, saga_id in enumerate(ids):
                client.send(saga_id, Wake(n=n))
        assert set(system.ended(ids).values()) == {"completed"}
    results = dict(system.rows("SELECT id, result FROM amends.sagas"))
    assert results == {f"p{n}": str(3 * n) for n in range(PARKED)}
    assert len(cache) <= RESIDENTS_MAX


def test_a_step_ends_for_a_saga_that_was_evicted_meanwhile(system: System) -> None:
    system.relay()
    system.orchestrator([gated, short], live_sagas_max=0)
    cache = system.workers[-1]._cache
    with SyncClient(system.settings) as client:
        client.start(gated, 7, id="g")
        assert GATE.entered.wait(60)
        assert client.run(short, 1, id="other", timeout=deadline(30)) == 1
        eventually(lambda: len(cache) == 0, 10, "nobody is in memory")
        GATE.opened.set()
        assert client.result(gated, "g", timeout=deadline(30)) == 7
    assert GATE.runs == 1, "it was not run again when its saga was loaded"


def test_two_thousand_started_at_once_complete(system: System) -> None:
    system.relay()
    ids = start_many(system, "m", MANY)
    system.orchestrator([short])
    assert set(system.ended(ids, 120).values()) == {"completed"}
    assert system.rows("SELECT count(*)::int FROM amends.journal") == [(MANY,)]
    assert system.rows("SELECT 1 FROM amends.dead_letters") == []


def test_a_backlog_longer_than_the_queue_is_worked_off_in_order(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "INBOUND_QUEUE_MAX", 100)
    system.relay()
    ids = start_many(system, "p", 300)
    with SyncClient(system.settings) as client:
        for n in range(2):
            for saga_id in ids:
                client.send(saga_id, Wake(n=n))
    system.orchestrator([parked])
    assert set(system.ended(ids, 120).values()) == {"completed"}
    assert system.rows("SELECT 1 FROM amends.dead_letters") == []
