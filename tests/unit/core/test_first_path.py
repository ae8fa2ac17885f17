"""The thinnest true path: a saga runs, is undone when it fails, and replays."""

import asyncio

import pytest

from orchestrator import Command, Message, Saga, saga
from orchestrator.core.decisions import Decision, Finish, Turn
from orchestrator.core.entries import Entry, Replied, Started, StepEnded, TimerFired, UndoReplied
from orchestrator.core.ids import SagaIdentity
from orchestrator.core.replay import journal_body, replay
from orchestrator.core.turn import LiveSaga

IDENTITY = SagaIdentity("x", "u", "demo", 1, 0)


class FirstCharged(Message):
    charge: str


class FirstCharge(Command[FirstCharged], service="pay"):
    amount: int


async def label(number: int) -> int:
    return number


async def tear_up(number: int) -> None: ...


@saga
async def demo(s: Saga, amount: int) -> str:
    s.set("state", "charging")
    charged, number = await asyncio.gather(s.call(FirstCharge(amount=amount)), s.step(label, 3, undo=tear_up))
    async with asyncio.timeout(5):
        await asyncio.sleep(1)
    if amount == 7:
        raise ValueError("seven")
    return f"{charged.charge} {number}"


def names(decisions: tuple[Decision, ...]) -> list[str]:
    return [type(decision).__name__ for decision in decisions]


@pytest.mark.parametrize("amount", [1, 7])
def test_a_saga_runs_is_undone_and_replays(amount: int) -> None:
    live = LiveSaga(demo, IDENTITY)
    rows: list[list[object]] = []

    def feed(entry: Entry) -> tuple[Decision, ...]:
        turn = live.feed(entry)
        assert isinstance(turn, Turn)
        rows.append(journal_body(entry, turn))
        again = replay(demo, IDENTITY, rows)
        assert (again.status, again.next_timer, again.position) == (live.status, live.next_timer, live.position)
        assert again.pending_sends() == live.pending_sends()
        assert again.pending_steps() == live.pending_steps()
        again.evict()
        return turn.decisions

    assert names(feed(Started(at_us=1, input=amount))) == ["SetValue", "SendCommand", "StartStep"]
    assert not feed(Replied(at_us=2, seq=1, attempt=1, outcome="succeeded", body={"charge": "c1"}))
    assert names(feed(StepEnded(at_us=3, seq=2, attempt=1, outcome="succeeded", body=3))) == ["Wait", "Wait"]
    assert live.next_timer is not None
    after_sleep = feed(TimerFired(at_us=2_000_000, timer=live.next_timer.number))
    if amount == 1:
        assert after_sleep[-1] == Finish(status="completed", result="c1 3")
        return
    assert names(after_sleep) == ["SetStatus", "StartStep"]
    assert names(feed(StepEnded(at_us=2_000_001, seq=5, attempt=1, outcome="succeeded"))) == ["SendUndo"]
    end = feed(UndoReplied(at_us=2_000_002, seq=1, attempt=1, outcome="undone"))[-1]
    assert isinstance(end, Finish)
    assert (end.status, end.left_undone) == ("failed", ())
