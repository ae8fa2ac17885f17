"""Sagas that end in each of the ways that are counted, and a participant that calls out to a vault that is down."""

import threading
from datetime import timedelta

from orchestrator import App, Breaker, Command, Handling, Message, Participant, Retry, Saga, saga
from tests.integration.engine.program import Post, ledger

pawn = Participant("pawn")
GATE, INSIDE, OUTSIDE = threading.Event(), threading.Event(), threading.Event()


class Lend(Command[int], service="pawn", undo=False):
    """Asks the vault, which is up or down."""

    vault: str


class Nudge(Message):
    pass


@pawn.handles(Lend, effect="external", timeout_s=5, breaker=Breaker("vault", fail_max=2, reset_timeout_s=60))
async def lend(cmd: Lend, ctx: Handling) -> int:
    ctx.log.info("asking the vault", extra={"vault": cmd.vault})
    if cmd.vault == "down":
        raise ConnectionError("the vault is down")
    return 1


@saga
async def booked(s: Saga, account: str) -> int:
    return await s.call(Post(account=account, amount=10))


@saga
async def declined(s: Saga, account: str) -> int:
    return await s.call(Post(account=account, amount=1_000))


@saga
async def beyond(s: Saga, account: str) -> int:
    """A definite no after the pivot: it waits for a person."""
    s.pivot()
    return await s.call(Post(account=account, amount=1_000))


@saga
async def borrowing(s: Saga, vault: str) -> int:
    return await s.call(Lend(vault=vault), retry=Retry.never, timeout=timedelta(minutes=5))


@saga
async def nudged(s: Saga, name: str) -> str:
    s.log.info("waiting for a nudge", extra={"who": name})
    await s.receive(Nudge)
    s.log.info("was nudged")
    return name


@saga
async def dawdling(s: Saga, _: str) -> None:
    """A turn that lasts until somebody opens the gate (or the watchdog has had enough)."""
    try:
        INSIDE.set()
        while not GATE.is_set():
            pass
    finally:
        OUTSIDE.set()


app = App(sagas=[booked, declined, beyond, borrowing, nudged, dawdling], participants=[ledger, pawn])
