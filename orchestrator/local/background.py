"""A keeper in the background: `up` starts one and returns when its servers are ready, `down` ends it.

The keeper is an ordinary process with a log (var/log/keeper.log). It goes on until `down`, a signal, or, if it was told
to watch somebody (a test run), until that process has ended.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import LocalStackError
from orchestrator.local.keeper import child_environment, on_stop_signals
from orchestrator.local.ownership import StackInUse, end_owner, read_owner
from orchestrator.local.paths import VarDir
from orchestrator.local.processes import POLL_S, Identity, end_leftovers, identify
from orchestrator.local.stack import Progress, Stack, up

WATCH_INTERVAL_S = 0.5
STOP_WAIT_S = 90.0


class KeeperEnded(LocalStackError):
    """The keeper in the background ended before its servers were ready."""

    def __init__(self, var: VarDir, said: str) -> None:
        super().__init__(f"the stack in {var.root} did not come up; nothing of it is left running.\n{said.strip()}")


def read_stack(var: Path) -> Stack | None:
    """Return the stack that a keeper has ready in this directory; None if there is none."""
    directory = VarDir(var.absolute())
    try:
        row = json.loads(directory.stack.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    if read_owner(directory) is None:
        return None
    return Stack(directory.root, row["DATABASE_URL"], row["KAFKA_BOOTSTRAP_SERVERS"])


def up_in_background(
    var: Path, *, progress: Progress, watched_pid: int | None = None, services: Sequence[str] = ()
) -> Stack:
    """Start a keeper that outlives this process and return its stack; if one is ready already, return that.

    `services` are further ones of compose.yaml. With `watched_pid` the keeper ends its stack as soon as that process
    has ended. Raise LocalStackError.
    """
    running = read_stack(var)
    if running is not None:
        return running
    directory = VarDir.at(var)
    if (owner := read_owner(directory)) is not None:
        raise StackInUse(directory, owner)
    log = directory.log / "keeper.log"
    begin = log.stat().st_size if log.exists() else 0
    keeper = _launch(directory, log, watched_pid, services)
    try:
        return _follow(keeper, directory, log, begin, progress)
    except BaseException:  # Ctrl-C while it starts: nobody would know of it.
        keeper.terminate()
        keeper.wait()
        raise


def down(var: Path) -> bool:
    """End the keeper of this directory with all its children, or what a killed one left; False if nothing ran."""
    directory = VarDir.at(var)
    owner = read_owner(directory)
    if owner is not None:
        end_owner(owner)
    left = end_leftovers(directory)
    directory.stack.unlink(missing_ok=True)
    return owner is not None or bool(left)


def keep(var: Path, watched_pid: int | None, services: Sequence[str] = ()) -> None:
    """Be the keeper: run the stack until a signal, or until the watched process has ended."""
    watched = None if watched_pid is None else identify(watched_pid)
    if watched_pid is not None and watched is None:
        return  # It has ended already.
    asyncio.run(_keep(var, watched, services))


async def _keep(var: Path, watched: Identity | None, services: Sequence[str]) -> None:
    stop = asyncio.Event()
    on_stop_signals(asyncio.get_running_loop(), stop.set)
    starting = asyncio.create_task(up(var, progress=_say, services=services, background=True))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return
    running = await starting
    async with running.listening():
        while not stop.is_set() and (watched is None or watched.is_alive()):
            await asyncio.wait([stopping], timeout=WATCH_INTERVAL_S)
    await running.down()


def _say(line: str) -> None:
    print(line, flush=True)


def _launch(var: VarDir, log: Path, watched_pid: int | None, services: Sequence[str]) -> "subprocess.Popen[bytes]":
    watch: Sequence[str] = () if watched_pid is None else ("--watch", str(watched_pid))
    command = [sys.executable, "-m", "orchestrator.local", "keep", "--var", str(var.root), *watch]
    command += [f"--with={name}" for name in services]
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=child_environment({}),
        )


def _follow(keeper: "subprocess.Popen[bytes]", var: VarDir, log: Path, begin: int, progress: Progress) -> Stack:
    """Pass on what the keeper says until its stack is ready."""
    said = ""
    while True:
        ended = keeper.poll() is not None
        new = log.read_bytes()[begin:].decode(errors="replace")[len(said) :]
        whole = new[: new.rindex("\n") + 1] if "\n" in new else ""
        said += whole
        for line in whole.splitlines():
            progress(line)
        stack = read_stack(var.root)
        if stack is not None:
            return stack
        if ended:
            raise KeeperEnded(var, said)
        time.sleep(POLL_S)
