"""What is done to the shop while it sells, in order, and how soon it recovers.

A SIGKILL waits for its moment. All processes are frozen for some milliseconds, and if the databases then show the
stages that this kill is about, the victim dies in exactly that state; if not, everybody goes on, and it is tried again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from typing import LiteralString, TypeVar

from services.demo.board import Board
from services.demo.look import STAGES, Eye, Look, Stage
from services.demo.options import Options
from services.demo.shop import ORCHESTRATORS, Shop

T = TypeVar("T")

MOMENT_PATIENCE_S = 30.0
RECOVERY_PATIENCE_S = 20.0
BETWEEN_LOOKS_S = 0.02
SETTLE_S = 0.002  # a commit that was on its way to Postgres when its process froze
CALM_S = 1.5  # between two faults, so that one does not hide the other
ANALYTICS_AWAY_S = 5.0

ADVANCED: LiteralString = """
    SELECT EXISTS (
        SELECT FROM unnest(%s::bigint[], %s::int[]) AS known(saga_no, pos)
        JOIN amends.journal j ON j.saga_no = known.saga_no AND j.pos > known.pos
    )
"""
STILL_IN_OUTBOX: LiteralString = "SELECT count(*) FROM amends.outbox WHERE seq = ANY(%s)"
STILL_RUNNING: LiteralString = """
    SELECT count(*) FROM unnest(%s::text[], %s::int[]) AS call(key, run)
    JOIN amends.inbox i ON i.key = call.key AND i.run = call.run AND i.state = 'running'
"""


class MomentNeverCame(RuntimeError):
    """Some stage stayed empty: a kill now would prove nothing about it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kill, as the report lists it."""

    target: str
    open_by_stage: dict[Stage, int]
    recovered_s: float


class Faults:
    """The script. `done` collects the kills; `missed` says what could not be shown."""

    def __init__(self, options: Options, shop: Shop, eye: Eye, board: Board) -> None:
        self._options = options
        self._shop = shop
        self._eye = eye
        self._board = board
        self.done: list[Fault] = []
        self.missed: list[str] = []

    async def run(self) -> None:
        """Everything that the options ask for."""
        wanted = self._options.faults
        await self._until(lambda: self._board.open >= self._options.open_min, MOMENT_PATIENCE_S)
        for n in range(self._options.kills if "orchestrator" in wanted else 0):
            await self._attempt(partial(self._kill_orchestrator, n))
        if "analytics" in wanted:
            await self._shop.stop("analytics")
            self._board.note("analytics is stopped: events wait for it")
        if "gateway" in wanted:
            await self._gateway_outage()
        if "relay" in wanted:
            await self._attempt(self._kill_relay)
        if "analytics" in wanted:
            await asyncio.sleep(0 if "gateway" in wanted else ANALYTICS_AWAY_S)
            await self._shop.start("analytics")
            self._board.note("analytics is started again")
        if "payments" in wanted:
            await self._attempt(self._kill_payments)

    async def _attempt(self, kill: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(CALM_S)
        try:
            await kill()
        except MomentNeverCame as error:
            self.missed.append(str(error))
            self._board.note(str(error))

    async def _kill_orchestrator(self, n: int) -> None:
        pids = {self._shop.pid(name): name for name in ORCHESTRATORS}

        def victims(look: Look) -> list[int]:
            if not pids.keys() <= look.owned.keys():
                return []  # The one killed before is not at work yet: nobody would be left to take over.
            return [pid for pid in pids if all(look.counts(look.owned[pid]).values())]

        look, victim = await self._moment(f"kill {n + 1} of an orchestrator", victims)
        name, shards = pids[victim], look.owned[victim]
        known = look.positions(shards)

        async def advanced() -> bool:
            return bool((await self._eye.ask(ADVANCED, (list(known), list(known.values()))))[0][0])

        await self._kill(name, look, shards, advanced)

    async def _kill_relay(self) -> None:
        look, _ = await self._moment("the kill of the relay", lambda look: [True] if look.outbox_seqs else [])
        waiting = list(look.outbox_seqs)

        async def delivered() -> bool:
            return not (await self._eye.ask(STILL_IN_OUTBOX, (waiting,)))[0][0]

        await self._kill("relay", look, look.stages, delivered)

    async def _kill_payments(self) -> None:
        look, _ = await self._moment("the kill of payments", lambda look: [True] if look.gateway_calls else [])
        calls = look.gateway_calls

        async def ended() -> bool:
            rows = await self._eye.ask(STILL_RUNNING, (list(calls), list(calls.values())), of="payments")
            return bool(rows[0][0] < len(calls))

        await self._kill("payments", look, look.stages, ended)

    async def _moment(self, what: str, fits: Callable[[Look], Collection[T]]) -> tuple[Look, T]:
        """Find a state that fits, and leave the shop frozen in it: `_kill` thaws it."""
        deadline_s = time.monotonic() + MOMENT_PATIENCE_S
        look = await self._eye.look()
        while time.monotonic() < deadline_s:
            if fits(look) and (found := await self._frozen_look(fits)):
                return found
            await asyncio.sleep(BETWEEN_LOOKS_S)
            look = await self._eye.look()
        counts = {str(pid): look.counts(shards) for pid, shards in look.owned.items()}
        raise MomentNeverCame(f"{what}: its moment did not come within {MOMENT_PATIENCE_S:.0f} s; last seen: {counts}")

    async def _frozen_look(self, fits: Callable[[Look], Collection[T]]) -> tuple[Look, T] | None:
        self._shop.freeze()
        found: tuple[Look, T] | None = None
        try:
            await asyncio.sleep(SETTLE_S)
            look = await self._eye.look()
            found = next(((look, victim) for victim in fits(look)), None)
        finally:
            if found is None:
                self._shop.thaw()
        return found

    async def _kill(
        self, name: str, look: Look, shards: Iterable[int], recovered: Callable[[], Awaitable[bool]]
    ) -> None:
        """Kill it where it stands, start it again at once, and measure until things move."""
        counts = look.counts(shards)
        shown = ", ".join(f"{stage.replace('_', ' ')} {counts[stage]}" for stage in STAGES)
        killed_s = time.monotonic()
        try:
            await self._shop.kill(name)
        finally:
            self._shop.thaw()
        self._board.note(f"SIGKILL to {name} ({shown})")
        restart = asyncio.create_task(self._shop.start(name))
        while not await recovered():
            if time.monotonic() - killed_s > RECOVERY_PATIENCE_S:
                self.missed.append(f"nothing moved within {RECOVERY_PATIENCE_S:.0f} s of the kill of {name}")
                break
            await asyncio.sleep(BETWEEN_LOOKS_S)
        fault = Fault(name, counts, round(time.monotonic() - killed_s, 3))
        await restart
        self.done.append(fault)
        self._board.note(f"{name}: recovered {fault.recovered_s:.2f} s after the kill")

    async def _gateway_outage(self) -> None:
        """Slow, then down, then well: the breaker opens, sagas park, and go on when it has closed."""
        await self._shop.gateway_phase("slow")
        self._board.note("the gateway is slow")
        await asyncio.sleep(self._options.slow_s)
        await self._shop.gateway_phase("down")
        self._board.note("the gateway is down")
        opened = await self._until(lambda: self._board.breaker == "open", MOMENT_PATIENCE_S)
        await asyncio.sleep(self._options.down_s)
        await self._shop.gateway_phase("normal")
        self._board.note("the gateway is well again")
        closed = await self._until(lambda: self._board.breaker == "closed", MOMENT_PATIENCE_S)
        if not (opened and closed):
            self.missed.append(f"the breaker did not {'close' if opened else 'open'} in the gateway's outage")

    async def _until(self, reached: Callable[[], bool], patience_s: float) -> bool:
        deadline_s = time.monotonic() + patience_s
        while not reached() and time.monotonic() < deadline_s:
            await asyncio.sleep(BETWEEN_LOOKS_S)
        return reached()
