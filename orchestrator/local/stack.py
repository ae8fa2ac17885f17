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
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Container, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.local import control, kafka, ports, postgres
from orchestrator.local.compose_file import Service, port_names, port_variables, read_services, with_dependencies
from orchestrator.local.keeper import Keeper, child_environment, on_stop_signals
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

    def listening(self) -> AbstractAsyncContextManager[None]:
        """Let other processes of this user kill, stop and start its services while the block runs: see `control`."""
        return control.listening(self._var, self._keeper)

    async def down(self) -> None:
        """Stop what was spawned, the newest first to hear of it, then the servers. Cancelled, it kills all at once."""
        try:
            await asyncio.gather(*(child.stop() for child in reversed(self._spawned)))
            await self._stop_servers()
        except asyncio.CancelledError:
            self._keeper.kill_all()
            raise
        finally:
            self._var.stack.unlink(missing_ok=True)
            self._ownership.release()

    async def _stop_servers(self) -> None:
        codes = await self._keeper.stop_all()
        if "kafka" in codes:
            await asyncio.to_thread(kafka.keep_startup_cache, self._var.root / "kafka", codes["kafka"])


async def up(
    var: Path, *, progress: Progress, services: Sequence[str] = (), fresh: bool = False, background: bool = False
) -> RunningStack:
    """Start Postgres and Kafka, or what of them the environment does not name; return when both are ready.

    `services` are further ones of compose.yaml to start; `fresh` removes the data of servers that it starts. Whatever a
    killed keeper of the same directory left running is ended first. Raise LocalStackError.
    """
    directory = VarDir.at(var)
    ownership = await asyncio.to_thread(Ownership.take, directory, background=background)
    keeper = Keeper(directory, progress)
    try:
        stack, wanted = await _prepare(directory, ("postgres", "kafka", *services), progress)
        if fresh:
            await asyncio.to_thread(_wipe, directory, {service.name for service in wanted})
        await keeper.start_all(wanted)
    except BaseException:
        await keeper.stop_all()
        ownership.release()
        raise
    ports.replace_json(directory.stack, stack.environment())
    return RunningStack(stack, directory, keeper, ownership)


@asynccontextmanager
async def kept(
    var: Path, *, progress: Progress, services: Sequence[str] = (), fresh: bool = False
) -> AsyncIterator[RunningStack]:
    """Keep a stack while the block runs. Ctrl-C, SIGTERM and the loss of the terminal cancel the block and end all.

    A second one hurries: what has not ended by then is killed.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is not None:
        on_stop_signals(loop, task.cancel)
    running = await up(var, progress=progress, services=services, fresh=fresh)
    try:
        yield running
    finally:
        await running.down()


async def _prepare(var: VarDir, names: Sequence[str], progress: Progress) -> tuple[Stack, list[Service]]:
    """Fetch what is missing, take ports, and return where the servers will be and what to start."""
    addresses = {"postgres": os.environ.get("DATABASE_URL"), "kafka": os.environ.get("KAFKA_BOOTSTRAP_SERVERS")}
    given = {name: address for name, address in addresses.items() if address}
    if "kafka" not in given:
        await _fetch(var, progress)
    text = kafka.package_text("compose.yaml")
    taken = await asyncio.to_thread(ports.take, port_names(text), var, cache_dir())
    stack = Stack(
        var.root,
        given.get("postgres") or f"postgresql://postgres@127.0.0.1:{taken['postgres']}/postgres",
        given.get("kafka") or f"127.0.0.1:{taken['kafka']}",
    )
    variables = {**os.environ, "VAR_DIR": str(var.root), **stack.environment(), **port_variables(taken)}
    return stack, with_dependencies(names, read_services(text, variables), given)


def _wipe(var: VarDir, servers: Container[str]) -> None:
    """Remove the data of these servers; the JVM's start-up cache and the downloads are not among it."""
    if "postgres" in servers:
        shutil.rmtree(var.root / "postgres", ignore_errors=True)
        shutil.rmtree(postgres.public_root(var.root / "postgres") / "data", ignore_errors=True)
    if "kafka" in servers:
        shutil.rmtree(var.root / "kafka" / "data", ignore_errors=True)


async def _fetch(var: VarDir, progress: Progress) -> None:
    """Download Kafka's jars, if any is missing; Ctrl-C stops that soon."""
    if kafka.is_fetched():
        return
    progress(f"Kafka: fetching {kafka.FETCH_MB} MB of jars into {kafka.jars_folder()}")
    stopped = threading.Event()
    try:
        await asyncio.to_thread(kafka.find_broker, var.root / "kafka", progress, stopped)
    finally:
        stopped.set()


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
