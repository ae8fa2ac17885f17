"""One run: the shop sells, the schedule is carried out, everybody has to move again after each fault, and the audit."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any, LiteralString

from services.auditor import audit
from services.chaos import report
from services.chaos.faults import Faults
from services.chaos.options import Options
from services.chaos.progress import ENDED, Progress, Standing, Watcher
from services.chaos.report import Done, Run
from services.chaos.schedule import SERVICES, Fault
from services.chaos.shop import Place
from services.chaos.shoppers import Shoppers
from services.chaos.state import state
from services.demo.outcomes import count_outcomes
from services.demo.shop import ProcessEnded

INFLICT_PATIENCES = 4  # of the patience: until a server is up again, and the topics are made
QUIET_S = 1.0  # between a recovery and the next fault
END_PATIENCE_S = 180.0  # a command whose answer was lost is sent again after a minute, twice that after another
POLL_S = 0.25
LINE_S = 10.0

HEARD: LiteralString = "SELECT count(DISTINCT order_id) FROM outcomes"
DEAD: LiteralString = "SELECT count(*) FROM amends.outbox_dead"
LETTERS: LiteralString = "SELECT count(*) FROM amends.dead_letters"


class StoodStill(RuntimeError):
    """After a fault, or at the end, somebody did not move in time."""


class Chaos:
    """One run, from the first checkout to the books."""

    def __init__(self, options: Options, place: Place) -> None:
        self._options = options
        self._place = place
        self._watcher = Watcher(place.world)
        self._progress = Progress(self._watcher, place.shop)
        self._faults = Faults(place)
        self._shoppers = Shoppers(options, place.world, place.network, lambda: self._ended)
        self._began_s = time.monotonic()
        self._ended = 0
        self._done: list[Done] = []

    async def run(self) -> Run:
        """All of it."""
        enough = asyncio.Event()
        try:
            async with alongside(self._watch()):
                await self._sell_and_break(enough)
                await self._until_all_have_ended()
        except BaseExceptionGroup as errors:
            expected, others = errors.split((StoodStill, ProcessEnded))
            if others is not None or expected is None:
                raise
            return await self._failed("; ".join(map(str, leaves(expected))))
        return await self._audited()

    async def _sell_and_break(self, enough: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._shoppers.run(enough))
            await self._until_all_are_at_work()
            for fault in self._options.faults():
                if self._time_is_over(fault):
                    break
                await asyncio.sleep(self._began_s + fault.at_s - time.monotonic())
                await self._one(fault)
            self.say("no more faults; the last checkouts are ending")
            enough.set()

    async def _until_all_are_at_work(self) -> None:
        """A process that is broken while it starts for the first time is another test's subject."""
        standing = Standing(set(), set(), set())
        try:
            async with asyncio.timeout(INFLICT_PATIENCES * self._options.patience_s):
                mark = await self._progress.mark(self._began_s)
                standing = self._progress.standing(mark)
                await self._progress.all_moved(mark, standing)
        except TimeoutError:
            raise StoodStill(f"BEFORE ANY FAULT NOT ALL ARE AT WORK. Still stand: {standing}") from None
        self._began_s = time.monotonic()
        self.say("all are at work")

    def _time_is_over(self, fault: Fault) -> bool:
        """A machine that recovers slowly comes by fewer faults; but each kind that is scheduled comes once."""
        has_come = any(done.fault.kind == fault.kind for done in self._done)
        return has_come and time.monotonic() - self._began_s > self._options.minutes * 60

    async def _one(self, fault: Fault) -> None:
        self.say(report.explained(fault))
        began_s, standing, inflicted = time.monotonic(), Standing(set(), set(), set()), False
        try:
            async with asyncio.timeout(fault.duration_s + INFLICT_PATIENCES * self._options.patience_s):
                remark = await self._faults.inflict(fault)
            ended_s = time.monotonic()
            inflicted = True
            async with asyncio.timeout(self._options.patience_s):
                mark = await self._progress.mark(ended_s)
                standing = self._progress.standing(mark, self._faults.left_dead)
                all_s = await self._progress.all_moved(mark, standing)
        except TimeoutError:
            who = str(standing) or ("the databases" if inflicted else "who had to undo it: a server, `amends migrate`")
            raise StoodStill(f"AFTER {report.explained(fault)} NOT ALL MOVED AGAIN. Still stand: {who}") from None
        first_s = all_s if standing.first_s is None else standing.first_s
        lasted_s = ended_s - began_s
        self._done.append(Done(fault, began_s - self._began_s, lasted_s, first_s, all_s, remark))
        self.say(f"  first saga after {first_s:.2f} s, all after {all_s:.2f} s. {remark}".rstrip())
        await self._faults.start_left_dead()
        await asyncio.sleep(QUIET_S)

    async def _until_all_have_ended(self) -> None:
        """And until analytics has heard of them all, and a moment longer: a second word about one may still come."""
        placed, heard = self._shoppers.placed, 0
        try:
            async with asyncio.timeout(END_PATIENCE_S):
                while self._ended < placed or heard < placed:
                    await asyncio.sleep(POLL_S)
                    heard = (await self._watcher.ask("analytics", HEARD))[0][0]
        except TimeoutError:
            what = f"{placed} checkouts were placed, {self._ended} have ended, analytics heard of {heard}"
            raise StoodStill(f"AT THE END NOT ALL SAGAS ENDED within {END_PATIENCE_S:.0f} s: {what}") from None
        await asyncio.sleep(POLL_S * 4)
        self.say("all sagas have ended")

    async def _watch(self) -> None:
        """Until cancelled: counts what has ended, and raises ProcessEnded for who ended without being told."""
        said_s = 0.0
        while True:
            self._ended = (await self._watcher.ask("orchestrator", ENDED))[0][0]
            self._place.shop.check()
            if time.monotonic() - said_s > LINE_S:
                said_s = time.monotonic()
                self.say(f"  {self._shoppers.placed} checkouts placed, {self._ended} have ended")
            await asyncio.sleep(POLL_S)

    async def _audited(self) -> Run:
        found = await asyncio.to_thread(audit, self._place.world.path)
        outcomes = await asyncio.to_thread(count_outcomes, self._place.world)
        dead = [(await self._watcher.ask(name, DEAD))[0][0] for name in ("orchestrator", *SERVICES)]
        lost = sum(dead) + (await self._watcher.ask("orchestrator", LETTERS))[0][0]
        await self._watcher.close()
        return Run(*self._so_far(), outcomes=outcomes, audit=found, lost=lost)

    async def _failed(self, failure: str) -> Run:
        found = await state(self._place, self._watcher)
        await self._watcher.close()
        return Run(*self._so_far(), failure=failure, state=found)

    def _so_far(self) -> tuple[Options, list[Done], float, int, int]:
        seconds = time.monotonic() - self._began_s
        return self._options, self._done, seconds, self._shoppers.placed, self._shoppers.asked_again

    def say(self, line: str) -> None:
        """With the seconds since the opening."""
        print(f"{time.monotonic() - self._began_s:7.1f}  {line}", flush=True)


@asynccontextmanager
async def alongside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run it while the block runs; an error of either ends both, and comes in an ExceptionGroup."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        yield
        task.cancel()


def leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """The errors themselves."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error
