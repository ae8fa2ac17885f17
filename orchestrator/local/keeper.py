"""Run the services of compose.yaml: start in the order of depends_on, watch, restart, stop in reverse.

A service is started when all that it depends on is ready, and services that do not wait for each other start side by
side. One that ends by itself is restarted as its `restart` says, each time a little later. Stopping is the reverse:
first what others do not depend on.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from orchestrator.errors import LocalStackError
from orchestrator.local.compose_file import Restart, Service
from orchestrator.local.paths import VarDir
from orchestrator.local.processes import Child
from orchestrator.local.ready import is_ready

RESTART_DELAY_MIN_S = 0.1
RESTART_DELAY_MAX_S = 5.0
LOG_LINES_SHOWN = 15
PACKAGES_FOLDER = Path(__file__).parents[2]
"""Where `orchestrator` lies: site-packages, or the repository, which a child might not have in its path."""

State = Literal["stopped", "starting", "ready", "waiting to restart", "stopping"]


@dataclass(frozen=True, slots=True)
class Seen:
    """One service as its keeper sees it. Times are seconds since the epoch; `code` is how it ended the last time."""

    name: str
    state: State
    since_s: float
    pid: int | None = None
    code: int | None = None
    back_at_s: float | None = None


class ServiceNotReady(LocalStackError):
    """A service ended while it started, or did not become ready in time."""

    def __init__(self, name: str, what: str, var: VarDir) -> None:
        path = var.log / f"{name}.log"
        lines = path.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:] if path.exists() else []
        super().__init__(
            f"{name} {what}. All that was started is stopped again. {path} ends with:\n" + "\n".join(lines)
        )


class Keeper:
    """The running services of one var directory."""

    def __init__(self, var: VarDir, progress: Callable[[str], None]) -> None:
        self._var = var
        self._progress = progress
        self._services: dict[str, Service] = {}  # In the order of their start.
        self._children: dict[str, Child] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self.states: dict[str, State] = {}
        self._since_s: dict[str, float] = {}
        self._back_at_s: dict[str, float] = {}
        self._holds_s: dict[str, float] = {}
        self._hurry: dict[str, asyncio.Event] = {}

    def seen(self) -> list[Seen]:
        """All services, in the order of their start."""
        return [self._seen(name) for name in self._services if name in self._children]

    def child(self, name: str) -> Child:
        """Return the process that a service has now; another one after a restart."""
        return self._children[name]

    async def start_all(self, services: Iterable[Service]) -> None:
        """Start the services, given in an order of their dependencies; return when all are ready.

        Raise ServiceNotReady for the first that is not; the caller stops the rest with `stop_all`.
        """
        ready: dict[str, asyncio.Task[None]] = {}
        for service in services:
            waits_for = [ready[name] for name, _ in service.depends_on]
            ready[service.name] = asyncio.create_task(self._start_after(service, waits_for))
        try:
            await asyncio.gather(*ready.values())
        finally:
            for task in ready.values():
                task.cancel()
            await asyncio.gather(*ready.values(), return_exceptions=True)

    async def start(self, service: Service) -> None:
        """Start one service and wait until it is ready; from then on it is watched."""
        await self._launch(service)
        await self._until_ready(service)
        self._set(service.name, "ready")
        self._progress(f"{service.name} is ready")
        self._watches[service.name] = asyncio.create_task(self._watch(service))

    async def stop(self, name: str) -> int:
        """Stop one service and leave it down; return its exit code."""
        self._set(name, "stopping")
        watch = self._watches.pop(name, None)
        if watch is not None:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        code = await self._children[name].stop()
        self._set(name, "stopped")
        return code

    async def start_again(self, name: str) -> None:
        """Start a service that was stopped."""
        await self.start(self._services[name])

    def kill(self, name: str, down_s: float) -> None:
        """SIGKILL to one service; if it is restarted, then after `down_s`, or when `hurry` is called."""
        self._holds_s[name] = down_s
        self._children[name].kill()

    def hurry(self, name: str) -> None:
        """Start a service now that waits to be restarted."""
        self._hurry[name].set()

    async def stop_all(self) -> dict[str, int]:
        """Stop everything, what depends on others first; return the exit codes. Cancelled, it kills all at once."""
        codes: dict[str, int] = {}
        try:
            while left := [name for name in self._services if name in self._children and name not in codes]:
                needed = {dependency for name in left for dependency, _ in self._services[name].depends_on}
                free = [name for name in left if name not in needed]
                codes.update(zip(free, await asyncio.gather(*map(self.stop, free)), strict=True))
        except asyncio.CancelledError:
            self.kill_all()
            raise
        return codes

    def kill_all(self) -> None:
        """SIGKILL to everything; nothing is waited for."""
        for watch in self._watches.values():
            watch.cancel()
        for child in self._children.values():
            child.kill()

    async def _start_after(self, service: Service, dependencies: list[asyncio.Task[None]]) -> None:
        await asyncio.gather(*dependencies)
        for name, condition in service.depends_on:
            if condition == "service_completed_successfully":
                await self._until_completed(name)
        await self.start(service)

    async def _until_completed(self, name: str) -> None:
        if await self._children[name].wait() != 0:
            raise ServiceNotReady(name, "failed, and other services wait for its success", self._var)

    async def _launch(self, service: Service) -> None:
        self._services[service.name] = service
        self._set(service.name, "starting")
        self._children[service.name] = await Child.spawn(
            service.name,
            service.command,
            child_environment(dict(service.environment)),
            self._var,
            stop_signal=service.stop_signal,
            grace_s=service.stop_grace_s,
        )

    async def _until_ready(self, service: Service) -> None:
        """Probe until it serves. Failed probes count only after the start period, as in compose."""
        loop = asyncio.get_running_loop()
        started_s, failures = loop.time(), 0
        child = self._children[service.name]
        while service.ready is not None and not await is_ready(service.ready):
            if child.returncode is not None:
                raise ServiceNotReady(service.name, f"ended with code {child.returncode} while it started", self._var)
            failures += loop.time() - started_s > service.start_period_s
            if failures > service.retries:
                raise ServiceNotReady(service.name, f"was not ready after {service.start_period_s:.0f} s", self._var)
            await asyncio.sleep(service.interval_s)

    async def _watch(self, service: Service) -> None:
        """Restart the service whenever it ends, if it wants that."""
        delay_s = RESTART_DELAY_MIN_S
        while True:
            code = await self._children[service.name].wait()
            if not wants_restart(service.restart, code):
                self._set(service.name, "stopped")
                return
            wait_s = self._holds_s.pop(service.name, delay_s)
            self._progress(f"{service.name} ended with code {code}; it is started again in {wait_s:.1f} s")
            await self._wait_to_restart(service.name, wait_s)
            delay_s = min(delay_s * 2, RESTART_DELAY_MAX_S)
            await self._launch(service)
            try:
                await self._until_ready(service)
            except ServiceNotReady:
                self._children[service.name].kill()
                continue
            self._set(service.name, "ready")
            self._progress(f"{service.name} is ready again")
            delay_s = RESTART_DELAY_MIN_S

    async def _wait_to_restart(self, name: str, wait_s: float) -> None:
        self._hurry[name] = asyncio.Event()
        self._back_at_s[name] = time.time() + wait_s
        self._set(name, "waiting to restart")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurry[name].wait(), wait_s)

    def _set(self, name: str, state: State) -> None:
        self.states[name] = state
        self._since_s[name] = time.time()

    def _seen(self, name: str) -> Seen:
        state, child = self.states[name], self._children[name]
        waits = state == "waiting to restart"
        return Seen(
            name,
            state,
            self._since_s[name],
            pid=child.pid if child.returncode is None else None,
            code=child.returncode,
            back_at_s=self._back_at_s[name] if waits else None,
        )


def wants_restart(policy: Restart, code: int) -> bool:
    """Decide as compose does; a service that the keeper stopped itself is not watched any more."""
    match policy:
        case "no":
            return False
        case "on-failure":
            return code != 0
        case "always" | "unless-stopped":
            return True


def child_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with something added, in which a child finds the same packages."""
    path = [str(PACKAGES_FOLDER), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path)), **extra}


def on_stop_signals(loop: asyncio.AbstractEventLoop, action: Callable[[], object]) -> None:
    """Call the action at Ctrl-C, SIGTERM or the loss of the terminal, instead of dying with children left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, action)
