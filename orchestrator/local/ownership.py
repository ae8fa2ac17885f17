"""One keeper per var directory: who holds it, and when another may take it over.

The lock is a flock, so it falls with its process, however that ends. Beside it keeper.json says who holds it and who
started that. If the starter is gone (`make` was killed with -9, its child lives on), the next run ends the keeper and
takes over. If it still lives, or the keeper was sent to the background on purpose, the newcomer is refused.
"""

import fcntl
import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from typing import TextIO

from orchestrator.errors import LocalStackError
from orchestrator.local.paths import VarDir
from orchestrator.local.ports import replace_json
from orchestrator.local.processes import POLL_S, Identity, end_leftovers, identify

KEEPER_GRACE_S = 75.0
"""Longer than any service's stop_grace_period: the keeper ends its children before itself."""
LOCK_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Owner:
    """Who keeps a stack. `starter` is the process that began the run; None for a keeper in the background."""

    identity: Identity
    starter: Identity | None

    def is_forsaken(self) -> bool:
        """Tell whether nobody waits for this run any more."""
        return self.starter is not None and not self.starter.is_alive()


class StackInUse(LocalStackError):
    """Another keeper runs in this var directory, and somebody still wants it."""

    def __init__(self, var: VarDir, owner: Owner | None) -> None:
        who = f"by process {owner.identity.pid}" if owner else "by a process that has just begun"
        super().__init__(
            f"the stack in {var.root} is kept {who}. Nothing was changed. End it with `make down` "
            f"(python -m orchestrator.local down --var {var.root}), or use another directory."
        )


class Ownership:
    """The right to run children in one var directory, held until `release`."""

    def __init__(self, var: VarDir, lock: TextIO) -> None:
        self._var = var
        self._lock = lock

    @classmethod
    def take(cls, var: VarDir, *, background: bool = False) -> "Ownership":
        """Take the directory and end whatever its former keeper left running; raise StackInUse. May block a minute."""
        lock = (var.run / "keeper.lock").open("a")
        if not _try_lock(lock):
            _end_forsaken(var)
            _wait_for_lock(lock, var)
        end_leftovers(var)
        var.stack.unlink(missing_ok=True)
        identity = identify(os.getpid())
        starter = None if background else identify(os.getppid())
        replace_json(var.keeper, {"identity": identity and asdict(identity), "starter": starter and asdict(starter)})
        return cls(var, lock)

    def release(self) -> None:
        """Give the directory back."""
        self._var.keeper.unlink(missing_ok=True)
        self._lock.close()


def read_owner(var: VarDir) -> Owner | None:
    """Return the keeper that runs now; None if there is none."""
    try:
        row = json.loads(var.keeper.read_text())
        owner = Owner(Identity(**row["identity"]), Identity(**row["starter"]) if row["starter"] else None)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return owner if owner.identity.is_alive() else None


def end_owner(owner: Owner) -> None:
    """Ask the keeper to end its stack and itself; SIGKILL after KEEPER_GRACE_S. Its children are then leftovers."""
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        deadline_s = time.monotonic() + KEEPER_GRACE_S
        if owner.identity.is_alive():
            os.kill(owner.identity.pid, signal_number)
        while owner.identity.is_alive() and time.monotonic() < deadline_s:
            time.sleep(POLL_S)


def _end_forsaken(var: VarDir) -> None:
    owner = read_owner(var)
    if owner is not None and owner.is_forsaken():
        end_owner(owner)


def _wait_for_lock(lock: TextIO, var: VarDir) -> None:
    """A keeper that is about to end still holds the lock for a moment."""
    deadline_s = time.monotonic() + (0 if read_owner(var) else LOCK_WAIT_S)
    while not _try_lock(lock):
        if time.monotonic() > deadline_s:
            lock.close()
            raise StackInUse(var, read_owner(var))
        time.sleep(POLL_S)


def _try_lock(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
