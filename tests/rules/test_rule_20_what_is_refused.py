"""Rule 20. What a replay could not repeat is found as early as it can be, and no later than is said: clocks and dice
when the function is declared, new files, sockets and processes at the moment they are tried, the rest by a replay only.
"""

import asyncio
import os
import random
import socket
import subprocess
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from orchestrator import Saga, saga
from orchestrator.core.determinism import install_guard
from orchestrator.errors import DefinitionError
from orchestrator.testing import Simulation
from tests.unit.core.shop import Driver, Paid, Print

READ, WRITE = os.pipe()


async def reads_the_clock(s: Saga, _: int) -> float:
    return time.time()


async def reads_the_date(s: Saga, _: int) -> str:
    return datetime.now().isoformat()


async def rolls_dice(s: Saga, _: int) -> float:
    return random.random()


async def mints(s: Saga, _: int) -> str:
    return str(uuid4())


async def sleeps_in_the_thread(s: Saga, _: int) -> None:
    time.sleep(1)  # noqa: ASYNC251  # what is tried here


async def asks_the_environment(s: Saga, _: int) -> str:
    return os.environ["HOME"]


@pytest.mark.parametrize(
    ("function", "instead"),
    [
        (reads_the_clock, "s.now()"),
        (reads_the_date, "s.now()"),
        (rolls_dice, "s.random()"),
        (mints, "s.uuid()"),
        (sleeps_in_the_thread, "asyncio.sleep"),
        (asks_the_environment, "input"),
    ],
)
def test_clocks_and_dice_are_found_when_the_function_is_declared(function: Any, instead: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        saga(function)
    line = function.__code__.co_firstlineno + 1
    assert f"{Path(__file__).name}:{line}" in str(refused.value)
    assert instead in str(refused.value)


def opens(_: str) -> None:
    Path(__file__).read_text()


def connects(_: str) -> None:
    socket.create_connection(("127.0.0.1", 9))


def spawns(_: str) -> None:
    subprocess.Popen(["true"])  # it must not come that far


@pytest.mark.parametrize("reach", [opens, connects, spawns])
def test_files_sockets_and_processes_are_refused_at_once_even_if_the_code_catches_it(
    reach: Callable[[str], None],
) -> None:
    install_guard()

    @saga
    async def reaches(s: Saga, _: int) -> str:
        paid = await s.receive(Paid)
        try:
            reach(paid.reference)
        except BaseException:
            await asyncio.sleep(1)
        return "as if nothing had happened"

    driver = Driver(reaches, 0)
    report = driver.blocked(driver.message(Paid(reference="1"), id="m"))
    assert f"{Path(__file__).name}:{reach.__code__.co_firstlineno + 1}" in report
    assert "s.step(" in report


def test_what_neither_sees_only_a_replay_finds(sim: Simulation) -> None:
    """A read on something that is open already: nobody hears of it, until the replay reads something else."""
    install_guard()

    @saga
    async def listens(s: Saga, _: int) -> str:
        return await s.call(Print(order=os.read(READ, 1).decode()))

    os.write(WRITE, b"ab")
    with pytest.raises(AssertionError, match=r'"order": "a".*"order": "b"'):
        sim.start(listens, 0)
