"""What was started is ended, also by a successor; what only looks like it is left alone."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.local import processes
from orchestrator.local.paths import VarDir
from orchestrator.local.processes import Child, Identity, PidFile, command_line, end_leftovers, identify
from tests.deadlines import deadline, eventually, eventually_async

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
]
TELLS = """
import signal, sys, time
from pathlib import Path
from orchestrator.local.processes import PidFile

def tell(*_):
    lives = PidFile.read(Path(sys.argv[1])).identity.is_alive()
    print("the program lives" if lives else "the program is gone", flush=True)
    sys.exit()

signal.signal(signal.SIGTERM, tell)
print("up", flush=True)
time.sleep(600)
"""
PARENT = [
    sys.executable,
    "-c",
    """
import subprocess, sys, time
print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid, flush=True)
time.sleep(600)
""",
]


@pytest.fixture
def var(tmp_path: Path) -> VarDir:
    return VarDir.at(tmp_path / "var")


async def spawn(argv: list[str], var: VarDir, name: str = "child", grace_s: float = 10.0) -> Child:
    """Start a program and wait until it has said something."""
    child = await Child.spawn(name, argv, os.environ, var, grace_s=grace_s)
    log = var.log / f"{name}.log"

    async def said() -> str:
        return log.read_text()

    await eventually_async(said, 10, f"{name} is up")
    return child


async def test_a_child_is_stopped_by_its_signal_and_its_pid_file_goes(var: VarDir) -> None:
    child = await spawn(SLEEP, var)
    assert (var.run / "child.json").exists()
    assert await child.stop() == -signal.SIGTERM
    assert not (var.run / "child.json").exists()


async def test_a_deaf_child_is_killed_after_its_grace(var: VarDir) -> None:
    child = await spawn(DEAF, var, grace_s=0.2)
    assert await child.stop() == -signal.SIGKILL


async def test_a_frozen_child_can_be_stopped(var: VarDir) -> None:
    child = await spawn(SLEEP, var)
    child.signal(signal.SIGSTOP)
    assert await asyncio.wait_for(child.stop(), deadline(5)) == -signal.SIGTERM


async def test_a_kill_takes_the_childs_own_children_along(var: VarDir) -> None:
    child = await spawn(PARENT, var)
    grandchild = int((var.log / "child.log").read_text())
    child.kill()
    assert await child.wait() == -signal.SIGKILL
    eventually(lambda: identify(grandchild) is None, 5, "the grandchild is gone")


@pytest.fixture
def orphan() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that no keeper knows of as its child."""
    process = subprocess.Popen(SLEEP, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_leftovers_are_ended_and_named(var: VarDir, orphan: "subprocess.Popen[bytes]") -> None:
    identity = identify(orphan.pid)
    assert identity is not None
    PidFile(identity, signal.SIGTERM, 5.0).write(var.run / "orchestrator-1.json")
    assert end_leftovers(var) == ["orchestrator-1"]
    assert orphan.wait() == -signal.SIGTERM
    assert list(var.run.glob("*.json")) == []


async def test_programs_are_ended_before_the_servers_that_they_wait_for(var: VarDir, tmp_path: Path) -> None:
    """A program that outlives its database waits for it until it is killed: nine of them took the next run 45 s."""
    server = await spawn([sys.executable, "-c", TELLS, str(var.run / "program.json")], var, "server", grace_s=60.0)
    await spawn(DEAF, var, "program", grace_s=0.5)
    await spawn(DEAF, var, "another", grace_s=0.5)
    assert set(await asyncio.to_thread(end_leftovers, var)) == {"another", "program", "server"}
    assert await asyncio.wait_for(server.wait(), deadline(10)) == 0
    assert "the program is gone" in (var.log / "server.log").read_text()


def test_a_process_that_got_the_pid_later_is_left_alone(var: VarDir, orphan: "subprocess.Popen[bytes]") -> None:
    PidFile(Identity(orphan.pid, "some other start"), signal.SIGKILL, 0.1).write(var.run / "postgres.json")
    assert end_leftovers(var) == []
    assert orphan.poll() is None
    assert list(var.run.glob("*.json")) == []


def test_a_torn_pid_file_is_passed_over(var: VarDir) -> None:
    (var.run / "torn.json").write_text('{"identity": {"pid"')
    assert end_leftovers(var) == []


def test_a_zombie_counts_as_dead() -> None:
    """Where nobody reaps, as under a container's sleeping first process, a zombie stays for ever."""
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    eventually(lambda: identify(process.pid) is None, 10, "the zombie counts as dead")
    assert process.wait() == 0


def test_the_two_ways_of_telling_processes_apart_agree(
    monkeypatch: pytest.MonkeyPatch, orphan: "subprocess.Popen[bytes]"
) -> None:
    """macOS has no /proc; its way, `ps`, runs here too where ps is installed."""
    if shutil.which("ps") is None:
        pytest.skip("no ps on this machine")
    assert "time.sleep(600)" in command_line(orphan.pid)
    monkeypatch.setattr(processes.sys, "platform", "darwin")
    by_ps = identify(orphan.pid)  # Linux's ps computes the start anew and may be a second off; macOS keeps it.
    assert by_ps is not None
    assert (by_ps.pid, len(by_ps.started.split())) == (orphan.pid, 5)
    assert "time.sleep(600)" in command_line(orphan.pid)
    orphan.kill()
    eventually(lambda: identify(orphan.pid) is None, 5, "ps sees it dead")
