"""Ctrl-C ends everything: a keeper in the foreground, in each of its states, sent the signal that a terminal sends."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.local.paths import VarDir
from orchestrator.local.processes import PidFile
from tests.deadlines import deadline, eventually

pytestmark = [pytest.mark.serial, pytest.mark.slow]

KEPT = """
import asyncio, pathlib, sys
from orchestrator.local.stack import kept
async def main():
    async with kept(pathlib.Path(sys.argv[1]), progress=print) as running:
        await running.spawn("worker", [sys.executable, "-c", sys.argv[2]], {})
        print("UP", flush=True)
        try:
            await asyncio.sleep(600)
        finally:
            print("ENDING", flush=True)
asyncio.run(main())
"""
POLITE = "import time; time.sleep(600)"
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(600)
"""


class Foreground:
    def __init__(self, var: VarDir, worker: str = POLITE) -> None:
        self.var = var
        env = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS")}
        command = [sys.executable, "-c", KEPT, str(var.root), worker]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)

    def wait_until(self, line: str) -> None:
        assert self.process.stdout is not None
        assert any(said.strip() == line for said in self.process.stdout), f"it ended without saying {line}"

    def children(self) -> list[PidFile]:
        found = (PidFile.read(path) for path in self.var.run.glob("*.json"))
        return [pid_file for pid_file in found if pid_file and pid_file.identity.is_alive()]


@pytest.fixture
def foreground(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Foreground]:
    foreground = Foreground(VarDir.at(tmp_path / "var"), getattr(request, "param", POLITE))
    yield foreground
    for child in foreground.children():  # of a keeper that did not do its duty
        os.killpg(child.identity.pid, signal.SIGKILL)
    foreground.process.kill()
    foreground.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all(foreground: Foreground, number: signal.Signals) -> None:
    foreground.wait_until("UP")
    children = foreground.children()
    assert len(children) == 3
    foreground.process.send_signal(number)
    foreground.process.wait(deadline(30))
    assert not any(child.identity.is_alive() for child in children)
    assert not foreground.var.stack.exists()


def test_ctrl_c_while_the_servers_start_ends_all(foreground: Foreground) -> None:
    eventually(lambda: len(foreground.children()) == 2, 20, "both servers have begun")
    children = foreground.children()
    foreground.process.send_signal(signal.SIGINT)
    foreground.process.wait(deadline(30))
    assert not any(child.identity.is_alive() for child in children)


@pytest.mark.parametrize("foreground", [DEAF], indirect=True)
def test_a_second_ctrl_c_while_the_programs_are_stopped_kills_the_servers_too(foreground: Foreground) -> None:
    foreground.wait_until("UP")
    children = foreground.children()
    eventually(lambda: "deaf" in (foreground.var.log / "worker.log").read_text(), 20, "the worker hears no SIGTERM")
    for child in children:  # Nor does a stopped one, not even when its parent dies.
        os.kill(child.identity.pid, signal.SIGSTOP)
    foreground.process.send_signal(signal.SIGINT)
    foreground.wait_until("ENDING")
    foreground.process.send_signal(signal.SIGINT)
    foreground.process.wait(deadline(30))
    eventually(lambda: not any(child.identity.is_alive() for child in children), 10, "all are gone")
