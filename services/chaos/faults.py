"""Does what the schedule says, and undoes it: when `inflict` returns, all that is left is for the shop to recover."""

import asyncio
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import LiteralString

import psycopg
from confluent_kafka.admin import AdminClient

from orchestrator.errors import LocalStackError
from services.chaos.network import restore
from services.chaos.proxy import Link, Pace
from services.chaos.schedule import ORCHESTRATORS, RELAYS, Fault
from services.chaos.shop import Place, make_topics

PACE = Pace(latency_s=0.05, jitter_s=0.1, bytes_per_s=500_000)
SESSIONS_EVERY_S = 0.4  # ended again before all are back at work, and after some are
INSIDE_PATIENCE_S = 30.0  # until a process comes by its failpoint; a service that nobody asks does not
POLL_S = 0.05
SERVER_STARTS_MAX = 5  # after a SIGKILL its children are still there for a moment, and it refuses to start
SERVER_AGAIN_S = 0.5
KAFKA_PATIENCE_S = 15.0
PAIRS = {"orchestrators": ORCHESTRATORS, "relays": RELAYS}

END_SESSIONS: LiteralString = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname LIKE 'shop\\_%' AND pid <> pg_backend_pid()
"""


class Faults:
    """`left_dead` are those that somebody has to start again once the others have moved."""

    def __init__(self, place: Place) -> None:
        self._running = place.running
        self._network = place.network
        self._world = place.world
        self._shop = place.shop
        self._inflictions: Mapping[str, Callable[[Fault], Awaitable[str]]] = {
            "kill": self._kill,
            "leave dead": self._leave_dead,
            "kill both": self._kill_both,
            "die inside": self._die_inside,
            "stop inside": self._stop_inside,
            "freeze": self._freeze,
            "freeze long": self._freeze,
            "end sessions": self._end_sessions,
            "end sessions on and on": self._end_sessions,
            "cut": self._break_links,
            "swallow": self._break_links,
            "slow": self._break_links,
            "gateway slow": self._gateway,
            "gateway down": self._gateway,
            "kafka killed": self._kill_server,
            "kafka wiped": self._kill_server,
            "topic made anew": self._make_topic_anew,
            "postgres killed": self._kill_server,
        }
        self.left_dead: list[str] = []

    async def inflict(self, fault: Fault) -> str:
        """Do it, wait, undo it. Returns what there is to say about it; mostly nothing."""
        return await self._inflictions[fault.kind](fault)

    async def start_left_dead(self) -> None:
        """Those of `leave dead`."""
        for name in self.left_dead:
            await self._shop.start(name)
        self.left_dead.clear()

    # ---- processes

    async def _kill(self, fault: Fault) -> str:
        await self._shop.kill(fault.target)
        await asyncio.sleep(fault.duration_s)
        await self._shop.start(fault.target)
        return ""

    async def _leave_dead(self, fault: Fault) -> str:
        await self._shop.kill(fault.target)
        self.left_dead.append(fault.target)
        return ""

    async def _kill_both(self, fault: Fault) -> str:
        pair = PAIRS[fault.target]
        await asyncio.gather(*map(self._shop.kill, pair))
        await asyncio.sleep(fault.duration_s)
        await asyncio.gather(*map(self._shop.start, pair))
        return ""

    async def _die_inside(self, fault: Fault) -> str:
        name, _, place = fault.target.partition(" at ")
        await self._arm(name, f"{place}=kill")
        try:
            async with asyncio.timeout(INSIDE_PATIENCE_S):
                await self._shop.died(name)
        except TimeoutError:
            await self._shop.kill(name)
            return "killed elsewhere: it did not come by there"
        finally:
            if not self._shop.is_running(name):
                await self._shop.start(name)
        return ""

    async def _stop_inside(self, fault: Fault) -> str:
        name, _, place = fault.target.partition(" at ")
        reached = await self._arm(name, f"{place}=stop")
        deadline_s = time.monotonic() + INSIDE_PATIENCE_S
        while not (reached.exists() and place in reached.read_text().split()):
            if time.monotonic() > deadline_s:
                await self._shop.kill(name)  # It would stop there some day.
                await self._shop.start(name)
                return "killed, not stopped: it did not come by there"
            await asyncio.sleep(POLL_S)
        await asyncio.sleep(fault.duration_s)
        self._shop.signal(name, signal.SIGCONT)
        return ""

    async def _arm(self, name: str, spec: str) -> Path:
        """Kill it and start it with a failpoint; the file names the places that it has come by."""
        log = self._world.folder / "failpoints.log"
        log.unlink(missing_ok=True)
        await self._shop.kill(name)
        await self._shop.start(name, {"AMENDS_FAILPOINTS": spec, "AMENDS_FAILPOINTS_LOG": str(log)})
        return log

    async def _freeze(self, fault: Fault) -> str:
        self._shop.signal(fault.target, signal.SIGSTOP)
        await asyncio.sleep(fault.duration_s)
        self._shop.signal(fault.target, signal.SIGCONT)
        return ""

    # ---- network and gateway

    async def _break_links(self, fault: Fault) -> str:
        links = self._network.named(fault.target)
        before = sum(link.bytes_through for link in links)
        for link in links:
            break_link(link, fault.kind)
        await asyncio.sleep(fault.duration_s)
        passed = sum(link.bytes_through for link in links) - before
        await restore(links)
        return f"{passed} bytes came through" if fault.kind != "slow" and passed else ""

    async def _gateway(self, fault: Fault) -> str:
        await self._shop.gateway_phase("slow" if fault.kind == "gateway slow" else "down")
        await asyncio.sleep(fault.duration_s)
        await self._shop.gateway_phase("normal")
        return ""

    # ---- servers

    async def _end_sessions(self, fault: Fault) -> str:
        until_s, ended, times = time.monotonic() + fault.duration_s, 0, 0
        async with await psycopg.AsyncConnection.connect(self._world.stack.database_url, autocommit=True) as connection:
            while True:
                row = await (await connection.execute(END_SESSIONS)).fetchone()
                ended, times = ended + (row[0] if row else 0), times + 1
                if time.monotonic() >= until_s:
                    return f"{ended} sessions" + (f", in {times} rounds" if times > 1 else "")
                await asyncio.sleep(SESSIONS_EVERY_S)

    async def _kill_server(self, fault: Fault) -> str:
        server = fault.target
        self._running.server(server).kill()
        await self._running.stop_server(server)  # The keeper would start it again at once.
        if fault.kind == "kafka wiped":
            await asyncio.to_thread(shutil.rmtree, self._world.stack.var / "kafka" / "data")
        await asyncio.sleep(fault.duration_s)
        await self._start_server(server)
        if fault.kind == "kafka wiped":
            await make_topics(self._world)
        return ""

    async def _start_server(self, server: str) -> None:
        for left in reversed(range(SERVER_STARTS_MAX)):
            try:
                await self._running.start_server(server)
                break
            except LocalStackError:
                if not left:
                    raise
                await asyncio.sleep(SERVER_AGAIN_S)

    async def _make_topic_anew(self, _fault: Fault) -> str:
        await asyncio.to_thread(self._delete_topic, f"{self._world.topic_prefix}sagas")
        await make_topics(self._world)
        return ""

    def _delete_topic(self, name: str) -> None:
        admin = AdminClient({"bootstrap.servers": self._world.stack.kafka_bootstrap_servers})
        for deleted in admin.delete_topics([name], operation_timeout=KAFKA_PATIENCE_S).values():
            deleted.result(KAFKA_PATIENCE_S)


def break_link(link: Link, kind: str) -> None:
    match kind:
        case "cut":
            link.cut()
        case "swallow":
            link.swallow()
        case _:
            link.slow(PACE)
