"""Values that can't be kept or sent: an error of whoever made them, at the line that did, and of nobody else."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import Event, Failure, Message, PayloadError, Retry, Saga, SagaFailed, saga
from orchestrator.cli import exits
from tests.bad_input import program
from tests.bad_input.program import Pay
from tests.bad_input.world import World
from tests.deadlines import deadline

NUL, LONE, LARGE = "a\x00b", "\ud800", "x" * 600_000


class Text(Message, name="ValuesText"):
    text: str


class Number(Message, name="ValuesNumber"):
    number: float


class Told(Event, topic="values-told", key="text", name="ValuesTold"):
    text: str


class Declined(Failure, wire_name="ValuesDeclined"):
    reason: str


def text_step(kind: str) -> str:
    return {"nul": NUL, "lone": LONE, "large": LARGE}[kind]


def number_step(kind: str) -> float:
    return {"nan": math.nan, "inf": float("1e400")}[kind]


def object_step(_: str) -> int:
    return object()  # type: ignore[return-value]


def declines(text: str) -> str:
    raise Declined(reason=text)


def raises(_: str) -> str:
    raise ValueError(NUL + LONE)


@saga
async def tries_all(s: Saga, account: str) -> dict[str, str]:
    """What was said to each. Nothing of what was refused may have left."""
    said: dict[str, str] = {}

    async def step(what: str, function: Callable[[str], Any], given: str) -> None:
        try:
            await s.step(function, given, retry=Retry.never)
        except Exception as error:
            said[what] = f"{type(error).__name__}: {error}"[:300]

    def at_once(what: str, do: Callable[[], object]) -> None:
        try:
            do()
        except Exception as error:
            said[what] = f"{type(error).__name__}: {error}"[:300]

    for kind in ("nul", "lone", "large"):
        await step(f"step {kind}", text_step, kind)
    for kind in ("nan", "inf"):
        await step(f"step {kind}", number_step, kind)
    await step("step object", object_step, "")
    await step("failure", declines, "quotes a NUL")
    await step("error", raises, "")
    at_once("set nan", lambda: s.set("k", math.nan))
    at_once("set nul", lambda: s.set("k", {"deep": [NUL]}))
    at_once("set lone", lambda: s.set("k", LONE))
    at_once("set object", lambda: s.set("k", object()))
    at_once("set large", lambda: s.set("k", LARGE))
    at_once("send nul", lambda: s.send("somebody", Text(text=NUL)))
    at_once("publish nul", lambda: s.publish(Told(text=NUL)))
    at_once("message nan", lambda: Number(number=math.nan))
    at_once("message inf", lambda: Number(number=float("1e400")))
    for what, bad in (("call nul", NUL), ("call lone", LONE), ("call large", LARGE)):
        try:
            await s.call(Pay(account=bad, amount=1))
        except Exception as error:
            said[what] = f"{type(error).__name__}: {error}"[:300]
    s.set("kept", "good")
    await s.call(Pay(account=account, amount=3))
    return said


@saga
async def returns(s: Saga, kind: str) -> str:
    await s.call(Pay(account=f"returns-{kind}", amount=1))
    return text_step(kind)


@saga
async def returns_a_number(s: Saga, kind: str) -> float:
    await s.call(Pay(account=f"returns-{kind}", amount=1))
    return number_step(kind)


@saga
async def raises_odd_text(s: Saga, _: str) -> str:
    raise ValueError(NUL + LONE)


REFUSED = {
    "step nul": "NUL", "step lone": "surrogate", "step large": "limit", "step nan": "float", "step inf": "float",
    "step object": "object", "failure": "Declined", "error": "ValueError",
    "set nan": "NaN", "set nul": "NUL", "set lone": "surrogate", "set object": "object", "set large": "limit",
    "send nul": "NUL", "publish nul": "NUL", "message nan": "finite", "message inf": "finite",
    "call nul": "NUL", "call lone": "surrogate", "call large": "limit",
}  # fmt: skip


def test_what_can_not_be_kept_is_an_error_where_it_is_made(empty_world: World) -> None:
    world = empty_world
    world.system.relay()
    world.system.participants([program.till])
    world.system.orchestrator([*program.app.sagas, tries_all, returns, returns_a_number, raises_odd_text])
    said = world.client.run(tries_all, "t", id="t", timeout=deadline(60))
    assert said.keys() == REFUSED.keys()
    assert {what: text for what, text in said.items() if REFUSED[what] not in text} == {}
    assert world.paid("t") == 3
    assert world.client.get("t", "kept", str) == "good"
    for type_, kind in (
        *((returns, kind) for kind in ("nul", "lone", "large")),
        *((returns_a_number, kind) for kind in ("nan", "inf")),
    ):
        with pytest.raises(SagaFailed) as caught:
            world.client.run(type_, kind, id=f"r-{kind}", timeout=deadline(60))
        assert caught.value.error_type == "PayloadError", (kind, caught.value)
        assert world.paid(f"returns-{kind}") == 0, "it failed, so what it had done is taken back"
    with pytest.raises(SagaFailed, match=r"a\\x00b\\ud800"):
        world.client.run(raises_odd_text, "", id="odd", timeout=deadline(60))
    world.neighbours_go_on()


@pytest.mark.parametrize("bad", [NUL, LONE, LARGE], ids=["nul", "lone", "large"])
def test_an_input_that_can_not_be_kept_starts_nothing(world: World, bad: str) -> None:
    with pytest.raises(PayloadError):
        world.client.start(program.two_payments, bad, id="bad")
    assert world.system.rows("SELECT 1 FROM amends.sagas") == []
    world.neighbours_go_on()


def test_on_the_command_line_it_is_refused_with_its_own_code(world: World) -> None:
    """`1e400` is JSON, and no number that anybody can keep."""
    for given in ("1e400", "NaN", json.dumps(NUL), '"\\ud800"', "{"):
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator.cli", "start", "neighbour", "--json", given, "--id", "cli"],
            env={
                **os.environ,
                "DATABASE_URL": world.system.url,
                "AMENDS_TOPIC_PREFIX": world.system.settings.topic_prefix,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in (exits.REFUSED, exits.USAGE), (given, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        assert done.stderr.strip()
    assert world.system.rows("SELECT 1 FROM amends.sagas") == []
    world.neighbours_go_on()
