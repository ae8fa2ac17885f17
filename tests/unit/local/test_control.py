"""Asking the keeper: it kills, stops and starts its own children, for its own user, and says what state each is in."""

import asyncio
import json
import signal
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from orchestrator.local.control import Control, NotDone, listening
from orchestrator.local.keeper import Seen
from tests.deadlines import eventually_async
from tests.unit.local.keeper_bench import Bench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    await bench.keeper.start_all([bench.service("server", restart="unless-stopped")])
    async with listening(bench.var, bench.keeper):
        yield bench
    await bench.keeper.stop_all()


@pytest.fixture
def control(bench: Bench) -> Control:
    return Control(bench.var.root)


def is_now(control: Control, state: str, pid_before: int | None = 0) -> Callable[[], Awaitable[Seen | None]]:
    async def ask() -> Seen | None:
        seen = (await control.services())["server"]
        return seen if seen.state == state and seen.pid != pid_before else None

    return ask


async def test_a_killed_service_is_down_as_long_as_was_asked_and_comes_back(control: Control) -> None:
    before = (await control.services())["server"]
    assert before.state == "ready"
    await control.kill("server", down_s=0.3)
    waiting = await eventually_async(is_now(control, "waiting to restart"), 10, "it waits to be restarted")
    assert (waiting.pid, waiting.code) == (None, -signal.SIGKILL)
    assert waiting.back_at_s is not None
    assert 0.2 < waiting.back_at_s - waiting.since_s <= 0.31
    after = await eventually_async(is_now(control, "ready", before.pid), 10, "it is ready again")
    assert after.since_s >= waiting.back_at_s - 0.05


async def test_what_waits_to_be_restarted_is_started_at_once_when_asked(control: Control) -> None:
    before = (await control.services())["server"]
    await control.kill("server", down_s=60)
    await eventually_async(is_now(control, "waiting to restart"), 10, "it waits to be restarted")
    await control.start("server")
    await eventually_async(is_now(control, "ready", before.pid), 10, "it is ready again")


async def test_what_was_stopped_stays_down_until_it_is_started(bench: Bench, control: Control) -> None:
    await control.stop("server")
    stopped = await eventually_async(is_now(control, "stopped"), 10, "it is stopped")
    assert (stopped.pid, stopped.code) == (None, 0)
    assert bench.journal[-1] == "server stopped"
    with pytest.raises(NotDone, match=r"server is stopped: it can't be told to kill. Nothing was changed."):
        await control.kill("server", down_s=0)
    await control.start("server")
    await eventually_async(is_now(control, "ready"), 10, "it is ready again")
    with pytest.raises(NotDone, match=r"server is ready: it can't be told to start"):
        await control.start("server")


async def test_what_waits_to_be_restarted_can_be_stopped(control: Control) -> None:
    await control.kill("server", down_s=60)
    await eventually_async(is_now(control, "waiting to restart"), 10, "it waits to be restarted")
    await control.stop("server")
    await eventually_async(is_now(control, "stopped"), 10, "it is stopped")
    await control.start("server")
    await eventually_async(is_now(control, "ready"), 10, "it is ready again, once")


async def test_only_its_services_and_verbs_are_known(control: Control) -> None:
    with pytest.raises(NotDone, match=r"there is no service '../etc'; there are server. Nothing was changed."):
        await control.stop("../etc")
    with pytest.raises(NotDone, match=r"can be down for 0 to 60 s"):
        await control.kill("server", down_s=1e9)


@pytest.mark.parametrize("line", [b"\n", b"[]\n", b"{}\n", b'{"do": "rm", "name": "server"}\n', b"\xff\n", b"null\n"])
async def test_nonsense_is_answered_and_changes_nothing(bench: Bench, control: Control, line: bytes) -> None:
    path = json.loads(bench.var.control.read_text())["socket"]
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(line)
    assert "error" in json.loads(await reader.readline())
    writer.close()
    assert (await control.services())["server"].state == "ready"


async def test_only_its_user_can_open_the_socket(bench: Bench) -> None:
    path = json.loads(bench.var.control.read_text())["socket"]
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600


async def test_a_socket_that_a_killed_keeper_left_is_no_obstacle_and_a_long_path_neither(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / ("long" * 30)):
        bench = Bench(folder)
        (bench.var.run / "keeper.sock").touch()
        async with listening(bench.var, bench.keeper):
            assert await Control(bench.var.root).services() == {}
            path = Path(json.loads(bench.var.control.read_text())["socket"])
        assert not path.exists()
        assert not bench.var.control.exists()


async def test_without_a_keeper_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotDone, match=r"no keeper in the background answers for .*Is the stack up \(`make up`\)\?"):
        await Control(tmp_path).services()
