"""What saga code must not do (rule 20, hole C6): found when it is registered, or refused while a turn runs."""

import builtins
import os
import random
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from datetime import datetime
from random import random as roll
from typing import Any

import pytest

from orchestrator import DefinitionError, Saga, saga
from orchestrator.core.blocked import Blocked
from orchestrator.core.determinism import check, install_guard
from orchestrator.core.registry import Registry
from tests.unit.core.shop import Driver, Paid, Print


async def clock(s: Saga, _: int) -> None:
    print(time.time())


async def today(s: Saga, _: int) -> None:
    print(datetime.now())


async def dice(s: Saga, _: int) -> None:
    print(random.choice([1, 2]))


async def dice_by_name(s: Saga, _: int) -> None:
    print(roll())


async def names(s: Saga, _: int) -> None:
    print(uuid.uuid4())


async def environment(s: Saga, _: int) -> None:
    print(os.environ["HOME"])


async def opens(s: Saga, _: int) -> None:
    with open("/etc/hosts") as file:
        print(file)


async def imports_inside(s: Saga, _: int) -> None:
    from time import monotonic as ticks

    print(ticks())


async def in_a_branch(s: Saga, _: int) -> None:
    async def branch() -> None:
        await s.call(Print(order=str(time.time())))

    await branch()


@pytest.mark.parametrize(
    ("function", "what", "instead"),
    [
        (clock, "time.time", "s.now()"),
        (today, "datetime.datetime.now", "s.now()"),
        (dice, "random.choice", "s.random()"),
        (dice_by_name, "random.random", "s.random()"),
        (names, "uuid.uuid4", "s.uuid()"),
        (environment, "os.environ", "the saga's input"),
        (opens, "builtins.open", "a step"),
        (imports_inside, "time.monotonic", "s.now()"),
        (in_a_branch, "time.time", "s.now()"),
    ],
)
def test_clocks_and_dice_are_found_when_the_function_becomes_a_saga(
    function: Callable[..., Any], what: str, instead: str
) -> None:
    with pytest.raises(DefinitionError) as caught:
        saga(function)
    text = str(caught.value)
    assert f"a replay can't repeat {what}: write {instead}" in text
    assert "test_determinism.py:" in text


def test_the_line_is_the_line() -> None:
    line = clock.__code__.co_firstlineno + 1
    with pytest.raises(DefinitionError, match=rf"test_determinism.py:{line}: "):
        check(clock)


def test_a_step_inside_may_do_as_it_likes() -> None:
    @saga
    async def fine(s: Saga, _: int) -> float:
        def measure() -> float:
            return time.time()

        later = random.Random(5).random()
        return later + await s.step(measure)

    assert fine.name == "fine"


async def helper(s: Saga) -> float:
    return time.time()


@saga
async def uses_a_helper(s: Saga, _: int) -> float:
    return await helper(s)


def test_helpers_that_take_the_handle_are_checked_when_it_is_registered() -> None:
    with pytest.raises(DefinitionError, match=r"can't repeat time.time"):
        Registry([uses_a_helper])


# ---- the guard


@pytest.fixture(autouse=True, scope="module")
def guard() -> None:
    install_guard()
    install_guard()


SNEAKY: list[tuple[str, Callable[[], Any]]] = [
    ("open", lambda: builtins.open("/etc/hosts").close()),
    ("socket.__new__", lambda: socket.socket().close()),
    ("subprocess.Popen", lambda: subprocess.run(["true"], check=True)),
    ("os.system", lambda: os.system("true")),
]
if sys.version_info >= (3, 12):  # before, Python tells nobody of a new thread
    SNEAKY += [("_thread.start_", lambda: threading.Thread(target=int).start())]


@pytest.mark.parametrize(("event", "sneak"), SNEAKY)
def test_files_sockets_and_processes_are_refused_at_once(event: str, sneak: Callable[[], Any]) -> None:
    @saga
    async def sneaks(s: Saga, _: int) -> None:
        try:
            sneak()
        except Exception:
            s.set("caught", True)

    with pytest.raises(Blocked, match=r"test_determinism.py:\d+: .*reaches outside of the saga: use s.step") as caught:
        Driver(sneaks, 0)
    assert event in str(caught.value)
    sneak()  # and outside of a turn nobody looks


def test_imports_and_tracebacks_do_not_trip_it() -> None:
    @saga
    async def imports(s: Saga, _: int) -> str:
        import importlib
        import sys
        import traceback

        sys.modules.pop("this_is_not_loaded", None)
        for name in ("wave", "colorsys"):
            sys.modules.pop(name, None)
            importlib.import_module(name)
        try:
            raise LookupError
        except LookupError:
            return traceback.format_exc()[:9]

    assert Driver(imports, 0).end.result == "Traceback"


# ---- declarations


def test_shapes_that_are_no_sagas() -> None:
    async def two_inputs(s: Saga, a: int, b: int) -> None: ...

    def not_async(s: Saga, a: int) -> None: ...

    for wrong in (two_inputs, not_async, 7):
        with pytest.raises(DefinitionError):
            saga(wrong)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="versions of a saga begin with 1"):

        @saga(version=0)
        async def zero(s: Saga, _: int) -> None: ...


def test_types_are_needed_and_checked_when_it_is_registered() -> None:
    @saga
    async def untyped(s: Saga, order) -> None: ...  # type: ignore[no-untyped-def]

    @saga
    async def unkeepable(s: Saga, thing: Callable[[], int]) -> socket.socket: ...  # type: ignore[empty-body]

    with pytest.raises(DefinitionError, match="both need a type"):
        Registry([untyped])
    with pytest.raises(DefinitionError, match="can't be kept as JSON"):
        Registry([unkeepable])


def test_two_sagas_of_one_name_and_version() -> None:
    @saga(name="twin")
    async def one(s: Saga, _: int) -> None: ...

    @saga(name="twin")
    async def other(s: Saga, _: int) -> None: ...

    @saga(name="twin", version=2)
    async def newer(s: Saga, _: int) -> None: ...

    with pytest.raises(DefinitionError, match=r"saga twin version 1 stands at .*test_determinism.py:"):
        Registry([one, other])
    registry = Registry([one, newer, one])
    assert registry.get("twin", 1) is one
    assert registry.get("twin", 2) is newer
    assert registry.get("twin", 3) is None
    assert set(registry) == {one, newer}


def test_a_saga_is_not_called() -> None:
    with pytest.raises(TypeError, match=r"await s.run\(uses_a_helper"):
        uses_a_helper(1)
    assert Paid(reference="x")
