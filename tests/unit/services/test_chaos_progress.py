"""Who has to move after a fault, and that a run ends, by name, when somebody does not."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from services.chaos import progress
from services.chaos.options import Options
from services.chaos.progress import Mark, Progress, Standing
from services.chaos.run import Chaos, StoodStill
from services.chaos.schedule import ORCHESTRATORS, SERVICES, Fault
from tests.deadlines import deadline

PIDS = dict(zip(ORCHESTRATORS, (11, 12), strict=True))
MARK = Mark(0.0, frozenset({0, 1}), 7, {5: 2, 6: 0}, dict.fromkeys(SERVICES, ("then", 3)))
URL = "postgresql://postgres@127.0.0.1:1/shop"


class Databases:
    """What each statement finds; a round later what `later` says."""

    def __init__(self, *rounds: dict[str, Any]) -> None:
        self._rounds = list(rounds)
        self.params: dict[str, Any] = {}

    async def ask(self, of: str, statement: str, params: Any = ()) -> list[tuple[Any, ...]]:
        now = self._rounds[0]
        match statement:
            case progress.MOVED_SHARDS:
                self.params["moved"] = params
                return [(shard,) for shard in now.get("moved", ())]
            case progress.OWNERS:
                return [(pid,) for pid in now.get("owners", ())]
            case progress.TAKEN:
                self.params[of] = params
                taken = of in now.get("taken", ())
                if of == max(SERVICES) and len(self._rounds) > 1:
                    self._rounds.pop(0)
                return [(taken,)]
        raise AssertionError(statement)


def watching(*rounds: dict[str, Any]) -> tuple[Progress, Databases]:
    databases: Any = Databases(*rounds)
    shop: Any = SimpleNamespace(pid=PIDS.__getitem__)
    return Progress(databases, shop), databases


ALL = {"moved": (0, 1), "owners": (11, 12), "taken": SERVICES}


@pytest.mark.parametrize(
    ("found", "left"),
    [
        (ALL | {"moved": (0,)}, "shards 1"),
        (ALL | {"owners": (12, 99)}, "orchestrator-1, which owns no shard"),
        (ALL | {"taken": SERVICES[1:]}, SERVICES[0]),
        ({"owners": (11, 12)}, "shards 0, 1; analytics; orders; payments; shipping; stock"),
    ],
    ids=["a shard", "an orchestrator", "a service", "everybody"],
)
async def test_whoever_does_not_move_is_waited_for(found: dict[str, Any], left: str) -> None:
    watched, _ = watching(found)
    standing = watched.standing(MARK)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await watched.all_moved(MARK, standing)
    assert str(standing) == left
    assert (standing.first_s is None) == ("moved" not in found)


async def test_all_need_not_move_at_once() -> None:
    taken_late = {"taken": SERVICES[3:], "moved": (1,), "owners": (11,)}
    watched, databases = watching(ALL | {"taken": SERVICES[:3], "moved": (0,), "owners": (12,)}, taken_late)
    standing = watched.standing(MARK)
    async with asyncio.timeout(deadline(5)):
        assert await watched.all_moved(MARK, standing) >= standing.first_s
    assert not standing
    assert databases.params["moved"] == ([5, 6], [2, 0], 7)
    assert databases.params["orders"] == ("then", 3)


async def test_who_was_left_dead_need_not_move() -> None:
    watched, _ = watching(ALL | {"owners": (12,)})
    async with asyncio.timeout(deadline(5)):
        await watched.all_moved(MARK, watched.standing(MARK, ["orchestrator-1"]))


class Still:
    """Shard 1 moves, nobody else."""

    async def mark(self, began_s: float) -> Mark:
        return MARK

    def standing(self, mark: Mark, but: Any) -> Standing:
        return Standing({1, 2}, {"stock"}, set())

    async def all_moved(self, mark: Mark, standing: Standing) -> float:
        standing.shards.discard(1)
        await asyncio.sleep(3_600)
        return 0.0


class Inflicting:
    """Does nothing, or is never done."""

    left_dead: tuple[str, ...] = ()

    def __init__(self, for_ever: bool) -> None:
        self._for_ever = for_ever

    async def inflict(self, fault: Fault) -> str:
        await asyncio.sleep(3_600 if self._for_ever else 0)
        return ""


@pytest.mark.parametrize(
    ("for_ever", "says"),
    [(False, "Still stand: shards 2; stock"), (True, "Still stand: who had to undo it")],
    ids=["nobody moves", "the fault is never undone"],
)
async def test_a_run_ends_by_the_names_of_the_fault_and_of_those_who_stand_still(for_ever: bool, says: str) -> None:
    world = SimpleNamespace(urls={"orchestrator": URL}, topic_prefix="t.")
    network = SimpleNamespace(database_url=lambda party, url: url)
    place: Any = SimpleNamespace(running=None, network=network, world=world, shop=None)
    chaos: Any = Chaos(Options(7, patience_s=0.05), place)
    chaos._progress, chaos._faults = Still(), Inflicting(for_ever)
    with pytest.raises(StoodStill, match=f"AFTER kill: stock .*NOT ALL MOVED AGAIN. {says}"):
        await chaos._one(Fault(0.0, "kill", "stock", 0.0))
