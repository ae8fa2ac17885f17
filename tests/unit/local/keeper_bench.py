"""A keeper with small programs in place of the servers, which note what they do."""

import socket
import sys
from pathlib import Path

from orchestrator.local.compose_file import Ready, Restart, Service
from orchestrator.local.keeper import Keeper
from orchestrator.local.paths import VarDir
from tests.deadlines import deadline

SERVE = """
import pathlib, signal, socket, sys, time
journal, name, port, delay_s = sys.argv[1:]
def note(what):
    with open(journal, "a") as file:
        file.write(f"{name} {what}\\n")
def stop(*_):
    note("stopped")
    sys.exit(0)
note("started")
signal.signal(signal.SIGTERM, stop)
time.sleep(float(delay_s))
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", int(port)))
note("serves")  # before anybody can see that it does, or the keeper might be first
server.listen()
while True:
    server.accept()[0].close()
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Bench:
    """A keeper, its directory, and the journal in which its services note what they do."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.var = VarDir.at(folder / "var")
        self.path = folder / "journal"
        self.path.touch()
        self.keeper = Keeper(self.var, lambda _: None)

    def service(self, name: str, *, after: str = "", delay_s: float = 0.0, restart: Restart = "no") -> Service:
        port = str(free_port())
        return Service(
            name,
            (sys.executable, "-c", SERVE, str(self.path), name, port, str(delay_s)),
            ready=Ready("tcp", port),
            depends_on=((after, "service_healthy"),) if after else (),
            restart=restart,
            interval_s=0.02,
            start_period_s=deadline(10),
        )

    @property
    def journal(self) -> list[str]:
        return self.path.read_text().splitlines()
