"""Give each stack ports of its own, so that two clones run side by side.

A register in the user's cache directory says which var directory has which port; it is read and written under a file
lock. A stack keeps its ports from run to run. A row is stale when its stack does not list the port any more.
Ports lie under 32768: above it the kernel may lend one to an outgoing connection just before a server wants it.
"""

import fcntl
import json
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

from orchestrator.errors import LocalStackError
from orchestrator.local.paths import VarDir

PORT_MIN = 20000
PORT_MAX = 29999


class NoFreePort(LocalStackError):
    """Every port of the range is taken."""

    def __init__(self) -> None:
        super().__init__(f"no port from {PORT_MIN} to {PORT_MAX} is free on 127.0.0.1. Stop a stack: `make down`.")


def take(names: Iterable[str], var: VarDir, cache: Path) -> dict[str, int]:
    """Return a port for each name, and write them to var/ports.json; the ports are free at this moment."""
    with _register(cache) as register:
        kept = read(var.ports)
        own = {port for port, owner in register.items() if owner == str(var.root)}
        for name in names:
            if name not in kept or kept[name] not in own or not is_free(kept[name]):
                kept[name] = _choose(register, var)
            register[kept[name]] = str(var.root)
        replace_json(var.ports, kept)
        return {name: kept[name] for name in names}


def read(path: Path) -> dict[str, int]:
    """Return what a ports.json says; nothing if there is none."""
    try:
        rows = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return {str(name): int(port) for name, port in rows.items()}


def replace_json(path: Path, content: object) -> None:
    """Write the file so that a reader sees the old content or the new one, never half of it."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(content, indent=2) + "\n")
    part.rename(path)


def is_free(port: int) -> bool:
    """Tell whether a server could listen on the port now; a connection that just closed is no obstacle."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextmanager
def _register(cache: Path) -> Iterator[dict[int, str]]:
    """Port -> var directory of all the user's stacks, without the stale rows; written back at the end."""
    path = cache / "ports.json"
    with (cache / "ports.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        rows = json.loads(path.read_text()) if path.exists() else {}
        register = {int(port): owner for port, owner in rows.items() if _still_owned(int(port), Path(owner))}
        yield register
        replace_json(path, {str(port): owner for port, owner in sorted(register.items())})


def _still_owned(port: int, owner: Path) -> bool:
    return port in read(owner / "ports.json").values()


def _choose(register: dict[int, str], var: VarDir) -> int:
    """Begin at a place that depends on the directory: other users, who have another register, begin elsewhere."""
    size = PORT_MAX - PORT_MIN + 1
    start = crc32(str(var.root).encode()) % size
    for step in range(size):
        port = PORT_MIN + (start + step) % size
        if port not in register and is_free(port):
            return port
    raise NoFreePort
