"""Who watches misses nothing: each status that a saga is in is told, or that something may have been missed."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from orchestrator import Client, Missed, Moved, Opened, RequestError, Saga, SagaNotFound, TookOver, saga
from orchestrator.client.answers import Watched
from tests.deadlines import deadline, eventually
from tests.integration.engine.kit import System
from tests.integration.engine.program import TABLES, Go, ledger, patient


@saga
async def brief(s: Saga, name: str) -> str:
    return name


@saga
async def waits(s: Saga, name: str) -> str:
    await s.receive(Go)
    return name


@pytest.fixture
async def client(system: System) -> AsyncIterator[Client]:
    async with Client(system.settings) as made:
        yield made


async def until(events: AsyncGenerator[Watched, None], is_last: object) -> list[Watched]:
    """What is told up to the first event for which it holds."""
    seen: list[Watched] = []
    async with asyncio.timeout(deadline(30)):
        async for event in events:
            seen.append(event)
            if is_last(event):  # type: ignore[operator]
                return seen
    raise AssertionError(f"the stream ended with {seen}")


def ended(*ids: str) -> object:
    """All of these have ended, and it was told."""
    left = set(ids)

    def is_last(event: Watched) -> bool:
        if isinstance(event, Moved) and event.saga.ended_at is not None:
            left.discard(event.saga.id)
        return not left

    return is_last


async def opened(events: AsyncGenerator[Watched, None]) -> Opened:
    event = (await until(events, lambda one: isinstance(one, Opened)))[-1]
    assert isinstance(event, Opened)
    return event


async def test_every_saga_that_moves_is_told(system: System, client: Client) -> None:
    system.relay()
    system.orchestrator([brief, waits])
    events = client.watch()
    await opened(events)
    ids = [f"b-{number}" for number in range(50)]
    for saga_id in ids:
        await client.start(brief, "x", id=saga_id)
    seen = await until(events, ended(*ids))
    assert {one.saga.id for one in seen if isinstance(one, Moved)} == set(ids)
    await events.aclose()


async def test_a_start_is_told_though_no_orchestrator_runs(client: Client) -> None:
    events = client.watch()
    await opened(events)
    await client.start(brief, "x", id="queued")
    [*_, last] = await until(events, lambda one: isinstance(one, Moved))
    assert isinstance(last, Moved)
    assert (last.saga.id, last.saga.status) == ("queued", "queued")
    await events.aclose()


async def test_one_saga_is_told_from_what_it_is_to_its_end(system: System, client: Client) -> None:
    system.relay()
    system.orchestrator([brief, waits])
    await client.start(waits, "a", id="one")
    await client.start(waits, "b", id="other")
    await asyncio.to_thread(eventually, lambda: running(system) == 2, 30, "both wait")
    events = client.watch("one")
    await opened(events)
    await client.send("other", Go())
    await client.send("one", Go())
    seen = [event async for event in events if isinstance(event, Moved)]
    assert {event.saga.id for event in seen} == {"one"}
    assert [seen[0].saga.status, seen[-1].saga.status] == ["running", "completed"]


async def test_of_a_type(system: System, client: Client) -> None:
    system.relay()
    system.orchestrator([brief, waits])
    events = client.watch(type="brief")
    await opened(events)
    await client.start(waits, "a", id="not-this")
    await client.start(brief, "a", id="this")
    seen = await until(events, ended("this"))
    assert {one.saga.type for one in seen if isinstance(one, Moved)} == {"brief"}
    await events.aclose()


async def test_it_goes_on_at_a_cursor_in_another_process(system: System, client: Client) -> None:
    """Another client stands for it: they share nothing but the database."""
    system.relay()
    system.orchestrator([brief, waits])
    events = client.watch()
    cursor = (await opened(events)).cursor
    await events.aclose()
    await client.start(brief, "x", id="between")
    await asyncio.to_thread(eventually, lambda: is_over(system, "between"), 30, "it has ended")
    async with Client(system.settings) as other:
        again = other.watch(cursor=cursor)
        seen = await until(again, ended("between"))
        await again.aclose()
    assert not [one for one in seen if isinstance(one, Opened | Missed)], "it had to begin anew"


async def test_a_cursor_from_before_anybody_watched_is_missed(system: System, client: Client) -> None:
    system.orchestrator([brief])
    events = client.watch(cursor="3-1")
    seen = await until(events, lambda one: isinstance(one, Opened))
    assert [type(one) for one in seen] == [Missed, Opened]
    await events.aclose()


async def test_what_it_can_not_be_is_refused(client: Client) -> None:
    with pytest.raises(RequestError, match="no cursor"):
        await anext(client.watch(cursor="yesterday"))
    with pytest.raises(SagaNotFound, match="nobody"):
        await anext(client.watch("nobody"))


@pytest.mark.slow
async def test_kills_are_survived_and_told(system: System, client: Client) -> None:
    """The only orchestrator is killed while sagas begin; whoever takes over tells what it moves."""
    system.execute(TABLES)
    system.relay()
    system.participants([ledger])
    first = system.orchestrator_process()
    events = client.watch()
    await opened(events)
    ids = [f"k-{number}" for number in range(40)]
    for saga_id in ids:
        await client.start(patient, "x", id=saga_id)
    await until(events, lambda one: isinstance(one, Moved) and one.saga.status == "running")
    os.kill(first.pid, signal.SIGKILL)
    system.orchestrator_process()
    for saga_id in ids:
        await client.send(saga_id, Go())
    seen = await until(events, ended(*ids))
    assert not [one for one in seen if isinstance(one, Missed)]
    assert [one for one in seen if isinstance(one, TookOver)]
    await events.aclose()


@pytest.mark.slow
async def test_cut_sessions_lose_nothing(system: System, client: Client) -> None:
    """All sessions are ended again and again: the watcher's, the orchestrator's, those of whoever starts sagas."""
    system.relay()
    system.orchestrator([brief, waits])
    events = client.watch()
    await opened(events)
    ids = [f"c-{number}" for number in range(60)]

    async def begin() -> None:
        async with Client(system.settings) as starter:
            for number, saga_id in enumerate(ids):
                if number % 10 == 5:
                    await asyncio.to_thread(system.rows, CUT)
                for _ in range(20):
                    try:
                        await starter.start(brief, "x", id=saga_id)
                        break
                    except Exception:  # its session was cut: starts are repeated
                        await asyncio.sleep(0.1)

    begun = asyncio.create_task(begin())
    told: set[str] = set()
    async with asyncio.timeout(deadline(60)):
        async for event in events:
            match event:
                case Moved(one) if one.ended_at is not None:
                    told.add(one.id)
                case Opened():  # after a Missed: then a list says what is true now
                    told |= {one.id for one in (await client.list(rows_max=1_000)).sagas if one.ended_at is not None}
            if told >= set(ids):
                break
    await begun
    await events.aclose()


CUT = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name ^@ 'amends'
"""


def running(system: System) -> int:
    [(count,)] = system.rows("SELECT count(*) FROM amends.sagas WHERE status = 'running'")
    return int(count)


def is_over(system: System, saga_id: str) -> bool:
    return bool(system.rows("SELECT 1 FROM amends.sagas WHERE id = %s AND ended_at IS NOT NULL", saga_id))
