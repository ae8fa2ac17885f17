"""The keeper with small programs in place of the servers: order, readiness, restart, and the end of all."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.local.compose_file import Ready, Restart, Service
from orchestrator.local.keeper import ServiceNotReady, wants_restart
from tests.deadlines import eventually_async
from tests.unit.local.keeper_bench import Bench, free_port


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    await bench.keeper.stop_all()


async def test_a_service_starts_when_its_dependency_serves_and_stops_before_it(bench: Bench) -> None:
    database = bench.service("database", delay_s=0.2)
    await bench.keeper.start_all([database, bench.service("worker", after="database")])
    assert bench.journal == ["database started", "database serves", "worker started", "worker serves"]
    assert await bench.keeper.stop_all() == {"worker": 0, "database": 0}
    assert bench.journal[4:] == ["worker stopped", "database stopped"]
    assert list(bench.var.run.glob("*.json")) == []


async def test_what_does_not_depend_starts_side_by_side(bench: Bench) -> None:
    await bench.keeper.start_all([bench.service("slow", delay_s=0.5), bench.service("quick")])
    assert bench.journal.index("quick serves") < bench.journal.index("slow serves")


async def test_a_killed_service_is_started_again(bench: Bench) -> None:
    await bench.keeper.start_all([bench.service("server", restart="unless-stopped")])
    first = bench.keeper.child("server")
    first.kill()

    async def serves_again() -> bool:
        return bench.keeper.states["server"] == "ready" and bench.journal.count("server serves") == 2

    await eventually_async(serves_again, 10, "the service serves again")
    assert bench.keeper.child("server").pid != first.pid


async def test_a_service_that_was_stopped_stays_down_until_it_is_started(bench: Bench) -> None:
    await bench.keeper.start_all([bench.service("server", restart="unless-stopped")])
    await bench.keeper.stop("server")
    assert bench.keeper.states["server"] == "stopped"
    await bench.keeper.start_again("server")
    assert bench.journal.count("server serves") == 2


async def test_a_service_that_ends_while_it_starts_is_named_with_its_last_words(bench: Bench) -> None:
    broken = Service(
        "broken", (sys.executable, "-c", "import sys; sys.exit('no disk')"), ready=Ready("tcp", str(free_port()))
    )
    with pytest.raises(ServiceNotReady, match=r"(?s)broken ended with code 1 .*broken.log ends with:.*no disk"):
        await bench.keeper.start_all([bench.service("fine"), broken])


async def test_a_service_that_never_serves_is_given_up(bench: Bench) -> None:
    command = (sys.executable, "-c", "import time; time.sleep(600)")
    mute = Service("mute", command, ready=Ready("tcp", str(free_port())), start_period_s=0.1, interval_s=0.02)
    with pytest.raises(ServiceNotReady, match=r"mute was not ready after 0 s"):
        await bench.keeper.start_all([mute, bench.service("never", after="mute")])
    assert "never started" not in bench.journal


async def test_a_start_that_is_cancelled_leaves_nothing_behind(bench: Bench) -> None:
    starting = asyncio.create_task(bench.keeper.start_all([bench.service("slow", delay_s=30)]))

    async def started() -> bool:
        return "slow started" in bench.journal

    await eventually_async(started, 10, "the service has begun")
    starting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await starting
    await bench.keeper.stop_all()
    assert bench.keeper.child("slow").returncode in (0, -signal.SIGTERM)


def test_restart_policies() -> None:
    words: tuple[Restart, ...] = ("no", "on-failure", "always", "unless-stopped")
    assert [wants_restart(word, 0) for word in words] == [False, False, True, True]
    assert [wants_restart(word, -9) for word in words] == [False, True, True, True]
