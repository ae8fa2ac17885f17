"""One keeper per directory, also after the most violent ends. The keepers here are real processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.local.ownership import Ownership, StackInUse, end_owner, read_owner
from orchestrator.local.paths import VarDir
from orchestrator.local.processes import PidFile, identify
from tests.deadlines import eventually

KEEPER = """
import asyncio, pathlib, sys
from orchestrator.local.ownership import Ownership
from orchestrator.local.keeper import child_environment, on_stop_signals
from orchestrator.local.paths import VarDir
from orchestrator.local.processes import Child
async def main():
    var = VarDir.at(pathlib.Path(sys.argv[1]))
    ownership = Ownership.take(var, background=sys.argv[2] == "background")
    stop = asyncio.Event()
    on_stop_signals(asyncio.get_running_loop(), stop.set)
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    child = await Child.spawn("child", sleep, child_environment({}), var)
    print(child.pid, flush=True)
    await stop.wait()
    await child.stop()
    ownership.release()
asyncio.run(main())
"""
# A starter as make is one: it begins the keeper and waits for it.
STARTER = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', *sys.argv[1:]]))"


class Begun:
    """A keeper with one child, begun by another process; that one ends, the keeper ends, in any order and way."""

    def __init__(self, var: VarDir, mode: str) -> None:
        command = [sys.executable, "-c", STARTER, KEEPER, str(var.root), mode]
        self.starter = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert self.starter.stdout is not None
        self.child_pid = int(self.starter.stdout.readline())
        owner = read_owner(var)
        assert owner is not None
        self.owner = owner

    def end(self) -> None:
        for pid in (self.starter.pid, self.owner.identity.pid, self.child_pid):
            if identify(pid) is not None:
                os.kill(pid, signal.SIGKILL)
        self.starter.communicate()


@pytest.fixture
def var(tmp_path: Path) -> VarDir:
    return VarDir.at(tmp_path / "var")


@pytest.fixture
def begun(var: VarDir, request: pytest.FixtureRequest) -> Iterator[Begun]:
    begun = Begun(var, getattr(request, "param", "foreground"))
    yield begun
    begun.end()


def test_a_directory_is_refused_while_somebody_wants_it(var: VarDir, begun: Begun) -> None:
    with pytest.raises(StackInUse, match=rf"kept by process {begun.owner.identity.pid}\. Nothing was changed\."):
        Ownership.take(var)
    assert identify(begun.child_pid) is not None


def test_after_a_kill_of_the_keeper_the_next_run_ends_its_child(var: VarDir, begun: Begun) -> None:
    os.kill(begun.owner.identity.pid, signal.SIGKILL)
    begun.starter.wait()
    assert identify(begun.child_pid) is not None
    Ownership.take(var).release()
    assert identify(begun.child_pid) is None


def test_after_a_kill_of_make_the_next_run_ends_keeper_and_child(var: VarDir, begun: Begun) -> None:
    begun.starter.kill()
    begun.starter.wait()
    assert begun.owner.identity.is_alive()
    Ownership.take(var).release()
    assert not begun.owner.identity.is_alive()
    assert identify(begun.child_pid) is None


@pytest.mark.parametrize("begun", ["background"], indirect=True)
def test_a_keeper_in_the_background_is_not_taken_over(var: VarDir, begun: Begun) -> None:
    begun.starter.kill()
    begun.starter.wait()
    with pytest.raises(StackInUse):
        Ownership.take(var)
    end_owner(begun.owner)
    eventually(lambda: identify(begun.child_pid) is None, 10, "the keeper ended its child")
    Ownership.take(var).release()


def test_two_directories_are_kept_side_by_side(tmp_path: Path) -> None:
    one, other = (Begun(VarDir.at(tmp_path / name), "foreground") for name in ("one", "other"))
    try:
        end_owner(one.owner)
        assert identify(one.child_pid) is None
        assert identify(other.child_pid) is not None
    finally:
        one.end()
        other.end()


def test_a_child_that_was_killed_and_whose_pid_file_stayed_is_forgotten(var: VarDir) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    identity = identify(process.pid)
    assert identity is not None
    PidFile(identity, signal.SIGTERM, 1.0).write(var.run / "gone.json")
    process.kill()
    process.wait()
    Ownership.take(var).release()
    assert not (var.run / "gone.json").exists()
