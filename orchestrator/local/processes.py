"""Child processes that never outlive their stack: pid files, process groups, and a polite end before a hard one.

A pid alone proves nothing, since the system gives it out again: each pid file also holds the start time of its process,
and nothing is signalled unless both agree.
"""

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.local.paths import VarDir
from orchestrator.local.ports import replace_json

GRACE_S = 10.0
POLL_S = 0.05
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Identity:
    """One process, and no later one with the same pid. `started` has the system's own unit and is only compared."""

    pid: int
    started: str

    def is_alive(self) -> bool:
        """Tell whether this very process still runs; a zombie does not."""
        return identify(self.pid) == self


@dataclass(frozen=True, slots=True)
class PidFile:
    """What var/run/NAME.json says of a child."""

    identity: Identity
    stop_signal: int
    grace_s: float

    def write(self, path: Path) -> None:
        """Put it where the next keeper finds it."""
        replace_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> "PidFile | None":
        """Return what is there; None if the file is gone or was not written whole."""
        try:
            row = json.loads(path.read_text())
            return cls(Identity(**row["identity"]), int(row["stop_signal"]), float(row["grace_s"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None


def identify(pid: int) -> Identity | None:
    """Return the process that has the pid now; None if there is none, or only a zombie."""
    started = _started_linux(pid) if sys.platform == "linux" else _started_by_ps(pid)
    return None if started is None else Identity(pid, started)


def _started_linux(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (OSError, ValueError):
        return None
    fields = stat[stat.rindex(")") + 2 :].split()  # The name before it may hold spaces and brackets.
    state, started_ticks = fields[0], fields[19]
    return None if state in "ZX" else f"{_boot_id()}:{started_ticks}"


def _boot_id() -> str:
    """Ticks count from the boot: after a reboot the same pair of pid and ticks may come again."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    except OSError:
        return "boot"


def _started_by_ps(pid: int) -> str | None:
    state, _, started = _by_ps(pid, "stat=,lstart=").partition(" ")
    return None if not state or state.startswith("Z") else started.strip()


def _by_ps(pid: int, columns: str) -> str:
    """Ask `ps`, which macOS has; empty if there is no such process."""
    answer = subprocess.run(["ps", "-ww", "-o", columns, "-p", str(pid)], capture_output=True, text=True, check=False)
    return answer.stdout.strip()


def command_line(pid: int) -> str:
    """Return the program and the arguments of a process; empty if there is none or it may not be looked at."""
    return _command_line_linux(pid) if sys.platform == "linux" else _by_ps(pid, "command=")


def _command_line_linux(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def die_with_parent(signal_number: int) -> None:
    """Ask the kernel for this signal when the parent ends (Linux); it survives exec, not a change of user."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number)


def signal_group(identity: Identity, signal_number: int) -> None:
    """Signal the process and its group, if it is still the same process."""
    if identity.is_alive():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(identity.pid, signal_number)


def end(processes: Iterable[PidFile]) -> None:
    """End processes that are not our children, side by side: each by its stop signal, by SIGKILL after its grace.

    Blocks until they are gone.
    """
    left, began_s = list(processes), time.monotonic()
    for process in left:
        signal_group(process.identity, signal.SIGCONT)  # A stopped process would sleep through its grace.
        signal_group(process.identity, process.stop_signal)
    killed_s = max((process.grace_s for process in left), default=0) + GRACE_S
    while (left := [process for process in left if process.identity.is_alive()]) and elapsed(began_s) < killed_s:
        for process in left:
            if elapsed(began_s) > process.grace_s:
                signal_group(process.identity, signal.SIGKILL)
        time.sleep(POLL_S)


def elapsed(since_s: float) -> float:
    return time.monotonic() - since_s


def end_leftovers(var: VarDir) -> list[str]:
    """End what a former keeper of this directory left running; return the names.

    Servers ask for a longer grace than programs. They are ended last: a program whose database is gone waits for it
    until its own grace is over.
    """
    found = {path: PidFile.read(path) for path in sorted(var.run.glob("*.json"))}
    left = {path: pid_file for path, pid_file in found.items() if pid_file and pid_file.identity.is_alive()}
    end(pid_file for pid_file in left.values() if pid_file.grace_s <= GRACE_S)
    end(pid_file for pid_file in left.values() if pid_file.grace_s > GRACE_S)
    for path in found:
        path.unlink(missing_ok=True)
    return [path.stem for path in left]


class Child:
    """A running program of the stack: its own process group, its own log, its own pid file."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, pid_file: PidFile, path: Path) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._pid_file = pid_file
        self._path = path

    @classmethod
    async def spawn(
        cls,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        var: VarDir,
        *,
        stop_signal: int = signal.SIGTERM,
        grace_s: float = GRACE_S,
    ) -> "Child":
        """Start the program with exactly this environment; it prints to var/log/NAME.log."""
        with (var.log / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *argv, env=dict(env), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        identity = identify(process.pid) or Identity(process.pid, "ended at once")
        pid_file = PidFile(identity, stop_signal, grace_s)
        pid_file.write(var.run / f"{name}.json")
        return cls(name, process, pid_file, var.run / f"{name}.json")

    @property
    def returncode(self) -> int | None:
        """None while it runs; -N after signal N."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait until it ends, and return its exit code."""
        code = await self._process.wait()
        if PidFile.read(self._path) == self._pid_file:  # Not that of a successor with the same name.
            self._path.unlink(missing_ok=True)
        return code

    def signal(self, signal_number: int) -> None:
        """Send a signal to its process group; nothing happens if it has ended."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal_number)

    def kill(self) -> None:
        """SIGKILL to its process group."""
        self.signal(signal.SIGKILL)

    async def stop(self) -> int:
        """Send the stop signal, after the grace SIGKILL; return the exit code. Cancelled, it kills at once."""
        self.signal(signal.SIGCONT)  # A stopped process would sleep through its grace.
        self.signal(self._pid_file.stop_signal)
        try:
            return await asyncio.wait_for(self.wait(), self._pid_file.grace_s)
        except TimeoutError:
            self.kill()
            return await self.wait()
        except asyncio.CancelledError:
            self.kill()
            raise
