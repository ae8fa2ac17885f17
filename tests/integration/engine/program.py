"""The sagas that the tests of crashes run in processes of their own, and the participant that they call."""

import asyncio
import os
import signal
import time
from datetime import timedelta

import psycopg
from psycopg import AsyncConnection

from orchestrator import App, Command, Failure, Message, Participant, Retry, Saga, Transaction, current_step, saga

ledger = Participant("ledger")


class Post(Command[int], service="ledger"):
    """Book an amount for a saga; its undo books it back."""

    account: str
    amount: int


class TooMuch(Failure):
    amount: int


class Go(Message):
    pass


async def _book(tx: Transaction, account: str, amount: int) -> None:
    await tx.connection.execute(
        "INSERT INTO bookings (key, account, amount) VALUES (%s, %s, %s)", (tx.key, account, amount)
    )


@ledger.handles(Post)
async def post(cmd: Post, tx: Transaction) -> int:
    if cmd.amount > 100:
        raise TooMuch(amount=cmd.amount)
    await _book(tx, cmd.account, cmd.amount)
    return cmd.amount


@post.undo
async def post_back(cmd: Post, amount: int, tx: Transaction) -> None:
    await _book(tx, cmd.account, -amount)


def count_run(account: str) -> int:
    """A step that leaves a trace of every time it runs, outside of any transaction of ours."""
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("INSERT INTO step_runs (key, account) VALUES (%s, %s)", (current_step().key, account))
    return 1


async def debit(connection: AsyncConnection, account: str) -> int:
    await connection.execute("INSERT INTO debits (account) VALUES (%s)", (account,))
    return 1


@saga
async def transfer(s: Saga, account: str) -> int:
    """Three bookings, with a step and a transaction in between."""
    total = await s.call(Post(account=account, amount=10))
    total += await s.step(count_run, account)
    total += await s.transaction(debit, account)
    total += await s.call(Post(account=account, amount=20))
    return total


@saga
async def refused(s: Saga, account: str) -> None:
    """Two bookings, then a definite no: both are booked back."""
    await s.call(Post(account=account, amount=10))
    await s.call(Post(account=account, amount=20))
    await s.call(Post(account=account, amount=1000))


@saga
async def patient(s: Saga, account: str) -> int:
    """Waits for a message between two bookings."""
    await s.call(Post(account=account, amount=10))
    await s.receive(Go)
    return await s.call(Post(account=account, amount=20))


@saga
async def hasty(s: Saga, account: str) -> int:
    """A call with a short patience: it must not give up on what lies unread in Kafka."""
    return await s.call(Post(account=account, amount=10), timeout=timedelta(seconds=3), retry=Retry.never)


@saga
async def sleeper(s: Saga, seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "awake"


@saga
async def endless(s: Saga, account: str) -> None:
    """A turn that never ends by itself."""
    await s.call(Post(account=account, amount=1))
    while True:
        pass


@saga
async def hanging(s: Saga, account: str) -> None:
    """A turn inside a C call that nobody can interrupt."""
    await s.call(Post(account=account, amount=1))
    import re

    re.match(r"(a+)+$", "a" * 60 + "b")


@saga
async def parent(s: Saga, account: str) -> int:
    await s.run(transfer, account, id=f"{account}-child")
    await s.call(Post(account=account, amount=1000))
    return 0


def slow_step(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@saga
async def slow(s: Saga, seconds: float) -> float:
    return await s.step(slow_step, seconds)


def once(account: str) -> int:
    """Takes effect, dies with its process the first time, and says no the second: nobody knows, so it is undone."""
    count_run(account)
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        runs = connection.execute("SELECT count(*) FROM step_runs WHERE account = %s", (account,)).fetchone()
    if runs == (1,):
        os.kill(os.getpid(), signal.SIGKILL)
    raise TooMuch(amount=0)


def take_back(account: str) -> None:
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("DELETE FROM step_runs WHERE account = %s", (account,))


@saga
async def doubtful(s: Saga, account: str) -> int:
    return await s.step(once, account, undo=take_back)


@saga
async def nosy(s: Saga, path: str) -> str:
    """Opens a file in the saga itself, which is refused."""
    return read(path)


def read(path: str) -> str:
    with open(path) as file:
        return file.read()


app = App(
    sagas=[transfer, refused, patient, hasty, sleeper, endless, hanging, parent, slow, doubtful, nosy],
    participants=[ledger],
)

TABLES = """
    CREATE TABLE bookings (key text NOT NULL, account text NOT NULL, amount int NOT NULL);
    CREATE TABLE step_runs (key text NOT NULL, account text NOT NULL);
    CREATE TABLE debits (account text NOT NULL);
"""
