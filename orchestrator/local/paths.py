"""Where the local stack keeps its files: one var directory a stack, one cache directory a user."""

import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class VarDir:
    """The directory of one stack; everything in it may be removed while the stack is down."""

    root: Path

    @classmethod
    def at(cls, root: Path) -> "VarDir":
        """Return the directory with an absolute path, made if it was missing."""
        var = cls(root.absolute())
        for folder in (var.run, var.log):
            folder.mkdir(parents=True, exist_ok=True)
        return var

    @property
    def run(self) -> Path:
        """Pid files and the keeper's lock."""
        return self.root / "run"

    @property
    def log(self) -> Path:
        """A log file for each program."""
        return self.root / "log"

    @property
    def ports(self) -> Path:
        """Name -> port, as JSON."""
        return self.root / "ports.json"

    @property
    def stack(self) -> Path:
        """Where the running servers are, as JSON; exists while they run."""
        return self.root / "stack.json"

    @property
    def control(self) -> Path:
        """Where the keeper in the background can be asked, as JSON."""
        return self.root / "control.json"

    @property
    def keeper(self) -> Path:
        """Who runs the children here; not among their pid files, since a keeper must not end itself as a leftover."""
        return self.root / "keeper.json"


def cache_dir(env: Mapping[str, str] = os.environ) -> Path:
    """Return the user's cache directory of Amends, made if it was missing; AMENDS_CACHE_DIR names another one."""
    path = Path(env["AMENDS_CACHE_DIR"]) if env.get("AMENDS_CACHE_DIR") else _system_cache(env) / "amends"
    path.mkdir(parents=True, exist_ok=True)
    return path


def _system_cache(env: Mapping[str, str]) -> Path:
    if env.get("XDG_CACHE_HOME"):
        return Path(env["XDG_CACHE_HOME"])
    home = Path("~").expanduser()
    if not os.access(home, os.W_OK):  # A user without a home, as in some containers.
        return Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"
    return home / "Library" / "Caches" if sys.platform == "darwin" else home / ".cache"
