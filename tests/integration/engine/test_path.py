"""The thinnest true path: client, relay, orchestrator, participant, on real Kafka and real Postgres."""

import asyncio

import pytest

from orchestrator import Command, Failure, Participant, Saga, SyncClient, Transaction, saga
from orchestrator.client import reading
from orchestrator.errors import SagaIdTaken
from tests.deadlines import deadline
from tests.integration.engine.kit import System

greeter = Participant("greeter")


class Greet(Command[str], service="greeter", undo=False):
    name: str


class Unwelcome(Failure):
    name: str


@greeter.handles(Greet)
async def greet(cmd: Greet, tx: Transaction) -> str:
    if cmd.name == "Mallory":
        raise Unwelcome(name=cmd.name)
    return f"Hello, {cmd.name}"


def shout(text: str) -> str:
    return text.upper()


@saga
async def welcome(s: Saga, name: str) -> str:
    greeting = await s.call(Greet(name=name))
    await asyncio.sleep(0.2)
    return await s.step(shout, greeting) + ", welcome back"


def test_a_saga_calls_sleeps_steps_and_ends(system: System) -> None:
    system.relay()
    system.participants([greeter])
    system.orchestrator([welcome])
    with SyncClient(system.settings) as client:
        assert client.run(welcome, "Ada", id="welcome-ada", timeout=deadline(30)) == "HELLO, ADA, welcome back"
        assert client.start(welcome, "Ada", id="welcome-ada").created is False
        with pytest.raises(SagaIdTaken):
            client.start(welcome, "Grace", id="welcome-ada")
        with pytest.raises(Unwelcome):
            client.run(welcome, "Mallory", id="welcome-mallory", timeout=deadline(30))
        assert client.request(reading.whole_record("welcome-ada")).input == "Ada"
    assert system.rows("SELECT id, status, input FROM amends.sagas ORDER BY id") == [
        ("welcome-ada", "completed", None),
        ("welcome-mallory", "failed", None),
    ]
