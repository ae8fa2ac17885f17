"""The shop's processes, as children of the local stack: start, kill, start again."""

import asyncio
import signal
import sys
from collections.abc import Mapping, Sequence

import httpx

from orchestrator.local.processes import Child
from orchestrator.local.stack import RunningStack
from services.demo.world import SERVICES, World
from services.gateway.script import Phase

ORCHESTRATORS = ("orchestrator-1", "orchestrator-2")
# Frozen for a look. The gateway is another company's, and analytics is in no saga's way.
FREEZABLE = (*ORCHESTRATORS, "relay", "orders", "stock", "payments", "shipping")
START_PATIENCE_S = 30.0

Programs = Mapping[str, tuple[Sequence[str], Mapping[str, str]]]
"""Name -> (what to run, its environment)."""


class ProcessEnded(RuntimeError):
    """A process of the shop ended by itself."""


def programs(world: World) -> Programs:
    """Of the demo."""
    python, amends = sys.executable, (sys.executable, "-m", "orchestrator.cli")
    databases = [part for url in world.urls.values() for part in ("--database", url)]
    book = ("--book", str(world.gateway_book), "--port", str(world.gateway_port))
    out: dict[str, tuple[Sequence[str], Mapping[str, str]]] = {
        "gateway": ((python, "-m", "services.gateway", *book), world.environment("orchestrator")),
        "relay": ((*amends, "relay", *databases), world.environment("orchestrator")),
    }
    for name in ORCHESTRATORS:
        out[name] = (*amends, "orchestrator", "services.sagas:app"), world.environment("orchestrator")
    for name in SERVICES:
        out[name] = (*amends, "participant", f"services.{name}:{name}"), world.environment(name)
    return out


class Shop:
    """What runs now. A process that ends without being told is an error: see `check`."""

    def __init__(self, running: RunningStack, world: World, runs: Programs | None = None) -> None:
        self._running = running
        self._programs = programs(world) if runs is None else runs
        self._children: dict[str, Child] = {}
        self._stopped: set[str] = set()
        self._gateway = httpx.AsyncClient(base_url=world.gateway_url, timeout=START_PATIENCE_S)

    async def open(self, *names: str) -> None:
        """Start these, or all; return when the gateway answers. The others take what comes when they are ready."""
        await asyncio.gather(*map(self.start, names or self._programs))
        async with asyncio.timeout(START_PATIENCE_S):
            while not await self._gateway_answers():
                self.check()
                await asyncio.sleep(0.05)

    async def close(self) -> None:
        """Close what this process holds open; the stack stops its children."""
        await self._gateway.aclose()

    async def start(self, name: str, more: Mapping[str, str] | None = None) -> None:
        """Start a process; it has the name and the log of the one before it. `more` is added to its environment."""
        argv, env = self._programs[name]
        self._children[name] = await self._running.spawn(name, argv, {**env, **(more or {})})
        self._stopped.discard(name)  # not before: until here `name` is the process that was told to end

    async def stop(self, name: str) -> None:
        """Ask a process to end, as a deploy would."""
        self._stopped.add(name)
        await self._children[name].stop()

    async def kill(self, name: str) -> None:
        """SIGKILL; returns when the kernel has buried it."""
        self._stopped.add(name)
        self._children[name].kill()
        await self._children[name].wait()

    async def died(self, name: str) -> None:
        """Wait for an end that was arranged for, by a failpoint."""
        self._stopped.add(name)
        await self._children[name].wait()

    def signal(self, name: str, number: int) -> None:
        """To one process."""
        self._children[name].signal(number)

    def pid(self, name: str) -> int:
        return self._children[name].pid

    def is_running(self, name: str) -> bool:
        return name in self._children and self._children[name].returncode is None

    def freeze(self) -> None:
        """Stop all that moves sagas, within a fraction of a millisecond."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on; who was killed stays dead."""
        self._signal(signal.SIGCONT)

    def check(self) -> None:
        """Raise ProcessEnded for a process that ended without being told."""
        for name, child in self._children.items():
            if child.returncode is not None and name not in self._stopped:
                raise ProcessEnded(f"{name} ended with code {child.returncode}: see var/log/{name}.log")

    async def gateway_phase(self, phase: Phase) -> None:
        """Let the gateway go slow, down, or be well again."""
        (await self._gateway.post("/admin/phase", json={"phase": phase})).raise_for_status()

    async def restart_gateway(self, seconds: float, distraction_s: float) -> None:
        """It is down for so long, and for `distraction_s` more for each request that it turns away meanwhile."""
        phase = {"phase": "down", "restart_s": seconds, "distraction_s": distraction_s}
        (await self._gateway.post("/admin/phase", json=phase)).raise_for_status()

    def _signal(self, number: int) -> None:
        for name in FREEZABLE:
            if self.is_running(name):
                self._children[name].signal(number)

    async def _gateway_answers(self) -> bool:
        try:
            return (await self._gateway.get("/admin/state")).is_success
        except httpx.TransportError:
            return False
