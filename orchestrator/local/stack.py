"""The local stack as others use it: bring it up, spawn programs beside it, take it down.

    running = await up(Path("var"), progress=print)
    child = await running.spawn("orchestrator-1", [sys.executable, "-m", ...], running.stack.environment())
    child.kill()
    await running.down()

DATABASE_URL and KAFKA_BOOTSTRAP_SERVERS in the environment name servers that are there already: those are then used and
not started, stopped or changed. Tests that are not async use `running_stack`.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.local import kafka, ports
from orchestrator.local.compose_file import Service, port_names, port_variables, read_services, with_dependencies
from orchestrator.local.keeper import Keeper, child_environment
from orchestrator.local.ownership import Ownership
from orchestrator.local.paths import VarDir, cache_dir
from orchestrator.local.processes import GRACE_S, Child

Progress = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stack:
    """Where the servers are. `database_url` is the administrator's, of the database `postgres`."""

    var: Path
    database_url: str
    kafka_bootstrap_servers: str

    def environment(self) -> dict[str, str]:
        """The two variables by which every program of Amends finds its servers."""
        return {"DATABASE_URL": self.database_url, "KAFKA_BOOTSTRAP_SERVERS": self.kafka_bootstrap_servers}


class RunningStack:
    """A stack that this process keeps."""

    def __init__(self, stack: Stack, var: VarDir, keeper: Keeper, ownership: Ownership) -> None:
        self.stack = stack
        self._var = var
        self._keeper = keeper
        self._ownership = ownership
        self._spawned: list[Child] = []

    async def spawn(self, name: str, argv: Sequence[str], env: Mapping[str, str], *, grace_s: float = GRACE_S) -> Child:
        """Start a program as a child of the stack: own process group, pid file, log in var/log/NAME.log.

        `env` is added to this process's environment. The child is not restarted when it ends.
        """
        child = await Child.spawn(name, argv, child_environment(env), self._var, grace_s=grace_s)
        self._spawned.append(child)
        return child

    def server(self, name: str) -> Child:
        """Return the process of `postgres` or `kafka`, for tests that kill or freeze it; it is restarted if it ends."""
        return self._keeper.child(name)

    async def stop_server(self, name: str) -> None:
        """Stop `postgres` or `kafka` and leave it down."""
        await self._keeper.stop(name)

    async def start_server(self, name: str) -> None:
        """Start a server that was stopped; return when it is ready."""
        await self._keeper.start_again(name)

    async def down(self) -> None:
        """Stop what was spawned, the newest first to hear of it, then the servers."""
        try:
            await asyncio.gather(*(child.stop() for child in reversed(self._spawned)))
            await self._stop_servers()
        finally:
            self._var.stack.unlink(missing_ok=True)
            self._ownership.release()

    async def _stop_servers(self) -> None:
        codes = await self._keeper.stop_all()
        if "kafka" in codes:
            await asyncio.to_thread(kafka.keep_startup_cache, self._var.root / "kafka", codes["kafka"])


async def up(var: Path, *, progress: Progress, background: bool = False) -> RunningStack:
    """Start Postgres and Kafka, or what of them the environment does not name; return when both are ready.

    Whatever a killed keeper of the same directory left running is ended first. Raise LocalStackError.
    """
    directory = VarDir.at(var)
    given = {"postgres": os.environ.get("DATABASE_URL"), "kafka": os.environ.get("KAFKA_BOOTSTRAP_SERVERS")}
    ownership = await asyncio.to_thread(Ownership.take, directory, background=background)
    keeper = Keeper(directory, progress)
    try:
        wanted = [name for name, address in given.items() if not address]
        if "kafka" in wanted and not kafka.is_fetched():
            progress(f"Kafka: fetching {kafka.FETCH_MB} MB of jars into {kafka.jars_folder()}")
            await asyncio.to_thread(kafka.find_broker, directory.root / "kafka", progress)
        services, taken = await asyncio.to_thread(_describe, wanted, directory)
        await keeper.start_all(services)
    except BaseException:
        await keeper.stop_all()
        ownership.release()
        raise
    stack = Stack(
        directory.root,
        given["postgres"] or f"postgresql://postgres@127.0.0.1:{taken['postgres']}/postgres",
        given["kafka"] or f"127.0.0.1:{taken['kafka']}",
    )
    ports.replace_json(directory.stack, stack.environment())
    return RunningStack(stack, directory, keeper, ownership)


def _describe(wanted: Sequence[str], var: VarDir) -> tuple[list[Service], dict[str, int]]:
    """Return the services to start, from compose.yaml, and the ports taken for them."""
    text = kafka.package_text("compose.yaml")
    taken = ports.take(port_names(text), var, cache_dir())
    services = read_services(text, {**os.environ, "VAR_DIR": str(var.root), **port_variables(taken)})
    return with_dependencies(wanted, services), taken


class BlockingStack:
    """A running stack for code that is not async: each method blocks until the thread of the keeper has done it."""

    def __init__(self, running: RunningStack, loop: asyncio.AbstractEventLoop) -> None:
        self.running = running
        self.stack = running.stack
        self._loop = loop

    def run(self, step: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of the stack in the keeper's thread and return its result."""
        return asyncio.run_coroutine_threadsafe(step, self._loop).result()

    def spawn(self, name: str, argv: Sequence[str], env: Mapping[str, str]) -> Child:
        """Like RunningStack.spawn; `kill` and `signal` of the child may be called from any thread."""
        return self.run(self.running.spawn(name, argv, env))

    def server(self, name: str) -> Child:
        """Like RunningStack.server."""
        return self.running.server(name)

    def stop_server(self, name: str) -> None:
        """Like RunningStack.stop_server."""
        self.run(self.running.stop_server(name))

    def start_server(self, name: str) -> None:
        """Like RunningStack.start_server."""
        self.run(self.running.start_server(name))


@contextmanager
def running_stack(var: Path, *, progress: Progress = lambda _: None) -> Iterator[BlockingStack]:
    """Keep a stack while the block runs, from a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="stack", daemon=True)
    thread.start()
    try:
        blocking = BlockingStack(asyncio.run_coroutine_threadsafe(up(var, progress=progress), loop).result(), loop)
        try:
            yield blocking
        finally:
            blocking.run(blocking.running.down())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
