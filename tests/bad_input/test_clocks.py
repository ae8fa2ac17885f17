"""The clock of the whole machine is set back by an hour: Postgres and orchestrator see it, and no timer waits for it.

A library that is preloaded stands for the clock: the real one is everybody's.
"""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from orchestrator import SyncClient
from tests.bad_input import program
from tests.bad_input.own_postgres import own_postgres
from tests.bad_input.program import Go, quiet, till, two_payments
from tests.bad_input.world import World
from tests.deadlines import deadline
from tests.integration.engine import kit

HOUR_S = 3_600
WAITS_S = 15.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cc") is None, reason="a clock of the test's own needs a C compiler"),
]


class Clock:
    def __init__(self, folder: Path) -> None:
        self._file, library = folder / "clock", folder / "set_back.so"
        self.set(0)
        source = Path(__file__).with_name("set_back.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"], check=True)
        self.environment = {"LD_PRELOAD": str(library), "AMENDS_CLOCK_FILE": str(self._file)}

    def set(self, seconds: int) -> None:
        part = self._file.with_suffix(".part")
        part.write_text(str(seconds))
        part.rename(self._file)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


@pytest.fixture
def world(
    clock: Clock, tmp_path: Path, kafka_bootstrap_servers: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """Postgres and orchestrator have the clock."""
    with (
        own_postgres(tmp_path / "data", **clock.environment) as postgres,
        kit.system(postgres.url, kafka_bootstrap_servers, topic_prefix, shards=1, partitions=1) as system,
        SyncClient(system.settings) as client,
    ):
        system.execute(program.TABLES)
        system.relay()
        system.participants([till])
        for name, value in clock.environment.items():
            monkeypatch.setenv(name, value)
        system.orchestrator_process(app="tests.bad_input.program:app")
        yield World(system, client)


def test_set_back_by_an_hour_no_timer_waits_for_it(world: World, clock: Clock) -> None:
    world.neighbours_go_on(60)
    before = _database_now(world)
    world.client.start(quiet, WAITS_S, id="sleeps")
    world.client.start(two_payments, "p", id="p")
    world.eventually(lambda: world.paid("p") == 1 and world.turns("sleeps") == 1, "both wait", 60)
    clock.set(-HOUR_S)
    assert _database_now(world) < before - HOUR_S / 2, "the clock is not set back"
    # Longer than the orchestrator takes to look at the clock again, and far less than the hour.
    assert world.client.result(quiet, "sleeps", timeout=deadline(60)) == "awake"
    world.client.send("p", Go())
    assert world.client.result(two_payments, "p", timeout=deadline(60)) == 11
    world.neighbours_go_on(60)
    clock.set(0)
    world.neighbours_go_on(60)
    times = world.system.rows(
        "SELECT array_agg((body::json->0->>'at')::bigint ORDER BY pos) FROM amends.journal GROUP BY saga_no"
    )
    assert all(one == sorted(one) for (one,) in times), "a saga's time ran backwards"
    assert world.paid("p") == 11


def _database_now(world: World) -> float:
    with psycopg.connect(world.system.url) as connection:
        row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
    assert row is not None
    return float(row[0])
