"""Saga functions that do what a saga must not: a clear word with the line, and nobody else waits."""

import asyncio
import concurrent.futures
import sys
import threading
from pathlib import Path

import pytest

from orchestrator import DefinitionError, Message, Saga, saga
from tests.bad_input import program
from tests.bad_input.program import Pay, stubborn
from tests.bad_input.world import World
from tests.deadlines import deadline, eventually
from tests.integration.engine.kit import Process

OTHER_LOOP = asyncio.new_event_loop()
OF_ANOTHER_LOOP = OTHER_LOOP.create_future()
OF_A_THREAD: "concurrent.futures.Future[int]" = concurrent.futures.Future()


class Never(Message, name="NeverSent"):
    pass


@saga
async def never_awaits(s: Saga, number: int) -> int:
    return number + 1


@saga
async def awaits_another_loop(s: Saga, account: str) -> int:
    await s.call(Pay(account=account, amount=1))
    return await OF_ANOTHER_LOOP


@saga
async def awaits_a_thread(s: Saga, account: str) -> int:
    await s.call(Pay(account=account, amount=1))
    return await asyncio.wrap_future(OF_A_THREAD)


@saga
async def awaits_nobody(s: Saga, account: str) -> None:
    await s.call(Pay(account=account, amount=1))
    await asyncio.Event().wait()


def in_a_thread() -> None:
    threading.Thread(target=print).start()


@saga
async def spawns_a_thread(s: Saga, account: str) -> None:
    await s.call(Pay(account=account, amount=1))
    in_a_thread()


@saga
async def spawns_by_the_loop(s: Saga, account: str) -> None:
    await s.call(Pay(account=account, amount=1))
    await asyncio.get_running_loop().run_in_executor(None, print)


@saga
async def never_lets_go(s: Saga, account: str) -> None:
    """Whatever comes out of its awaits, it waits again."""
    await s.call(Pay(account=account, amount=1))
    while True:
        try:
            await s.receive(Never)
        except BaseException:
            continue


@saga
async def never_lets_go_of_a_sleep(s: Saga, account: str) -> None:
    await s.call(Pay(account=account, amount=1))
    while True:
        try:
            await asyncio.sleep(3600)
        except BaseException:
            continue


@saga
async def exits(s: Saga, account: str) -> None:
    await s.call(Pay(account=account, amount=1))
    sys.exit("bye")


BAD = [
    (awaits_another_loop, "belongs to another event loop"),
    (awaits_a_thread, "nothing can ever wake it"),
    (awaits_nobody, "nothing can ever wake it"),
    (spawns_by_the_loop, "run_in_executor reaches outside"),
    (exits, r"sys.exit()"),
]
SEEN_FROM_3_12 = [(spawns_a_thread, "reaches outside of the saga")] if sys.version_info >= (3, 12) else []


def at_work(world: World, *sagas: object) -> None:
    world.system.relay()
    world.system.participants([program.till])
    world.system.orchestrator([*program.app.sagas, *sagas])


def test_one_that_never_awaits_is_over_at_once(empty_world: World) -> None:
    at_work(empty_world, never_awaits)
    assert empty_world.client.run(never_awaits, 1, id="short", timeout=deadline(60)) == 2
    empty_world.neighbours_go_on()


def test_what_can_not_be_repeated_blocks_its_saga_with_the_line_and_nothing_of_that_turn_leaves(
    empty_world: World,
) -> None:
    world, bad = empty_world, BAD + SEEN_FROM_3_12
    at_work(world, *(one for one, _ in bad))
    for one, _ in bad:
        world.client.start(one, one.name, id=one.name)
    for one, said in bad:
        why = world.blocked(one.name)
        assert said in why
        assert "Misuse" in why
        assert world.turns(one.name) == 1, "the turn that went wrong is in the journal"
        assert world.paid(one.name) == 1
    assert f"{Path(__file__).name}:" in world.blocked("awaits_a_thread")
    world.neighbours_go_on()
    # Nothing is lost: a person can still end it, and sees what stays.
    world.client.terminate("awaits_a_thread", note="it waits for a thread")
    assert world.system.ended(["awaits_a_thread"]) == {"awaits_a_thread": "terminated"}


def test_a_thread_is_refused_when_the_function_is_declared() -> None:
    with pytest.raises(DefinitionError, match=r"test_saga_functions\.py:\d+: a replay can't repeat threading\.Thread"):

        @saga
        async def declared(s: Saga, _: int) -> None:
            threading.Thread(target=print).start()


@pytest.mark.parametrize("one", [never_lets_go, never_lets_go_of_a_sleep], ids=lambda one: one.name)
def test_one_that_catches_its_own_end_leaves_memory_all_the_same(
    empty_world: World, caplog: pytest.LogCaptureFixture, one
) -> None:
    world = empty_world
    world.system.relay()
    world.system.participants([program.till])
    stop = world.system.orchestrator([*program.app.sagas, one], live_sagas_max=0)
    world.client.start(one, "clinging", id="clinging")
    world.eventually(lambda: world.paid("clinging") == 1 and world.turns("clinging") == 2, "it waits")
    world.neighbours_go_on()
    world.eventually(lambda: "caught the end of its own coroutine" in caplog.text, "it is said")
    assert f"{one.name} caught" in caplog.text
    assert world.status("clinging") == "running"
    stop()
    world.system.orchestrator([*program.app.sagas, one])
    world.neighbours_go_on()
    world.client.terminate("clinging", note="it can't be cancelled")
    assert world.system.ended(["clinging"]) == {"clinging": "terminated"}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_turn_that_catches_what_interrupts_it_costs_three_processes_at_most(empty_world: World) -> None:
    """The watchdog's exception is caught again and again, so the process ends; the third quarantines the saga."""
    world = empty_world
    world.system.relay()
    world.system.participants([program.till])

    def process() -> Process:
        return world.system.orchestrator_process(app="tests.bad_input.program:app")

    world.client.start(stubborn, "s", id="s")
    for _ in range(4):
        doomed = process()
        eventually(lambda one=doomed: one.ended or world.status("s") == "blocked", 90, "a death, or the quarantine")
        if world.status("s") == "blocked":
            break
    assert "two processes were lost in this saga's turn" in world.blocked("s")
    world.neighbours_go_on(deadline(30))
    assert world.paid("s") == 1
