"""The breaker, shared by four processes: it opens for all, lets one trial through, and burns no attempt."""

import asyncio
import time
from collections import defaultdict
from contextlib import AsyncExitStack

import pytest

from orchestrator.participant import Breaker
from orchestrator.participant.breaker import Refused, SharedBreakers
from orchestrator.participant.connection import Lane
from tests.deadlines import deadline, eventually
from tests.integration.participant.desk import Answer
from tests.integration.participant.shop import ChargeCard

CHARGES = 200
RESET_S = 2.0


GATEWAY = Breaker("gateway", fail_max=3, reset_timeout_s=30)


class CountingLane(Lane):
    looks = 0

    async def execute(self, statement, params=None, place=None):
        self.looks += "SELECT name, state" in statement
        return await super().execute(statement, params, place)


@pytest.fixture
async def processes_of_one(inbox_url):
    """What two processes of a participant have of its breakers. Nothing here keeps them fresh."""
    async with AsyncExitStack() as stack:
        lanes = [CountingLane(inbox_url, f"process {n}") for n in range(2)]
        breakers = [SharedBreakers([GATEWAY], "payments", lane) for lane in lanes]
        for lane, one in zip(lanes, breakers, strict=True):
            stack.push_async_callback(lane.close)
            await one.declare()
        yield [one.get(GATEWAY) for one in breakers], lanes


async def test_no_call_begins_while_the_table_says_open(processes_of_one):
    (opener, other), _ = processes_of_one
    for _ in range(3):
        await opener.ended(await opener.permit(1), ConnectionError("down"))
    assert opener.is_open
    assert not other.is_open  # It has seen no error and heard nothing yet.
    answers = await asyncio.gather(*(other.permit(1) for _ in range(5)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Refused] * 5


async def test_one_look_serves_all_calls_that_wait_for_it(processes_of_one):
    (_, other), (_, lane) = processes_of_one
    before = lane.looks
    await asyncio.gather(*(other.permit(1) for _ in range(50)))
    assert 1 <= lane.looks - before <= 2
    await other.permit(1)
    assert 2 <= lane.looks - before <= 3  # A look that was begun before the call was asked for does not count.


async def test_a_look_that_is_cancelled_counts_for_nobody(processes_of_one):
    (opener, other), (_, lane) = processes_of_one
    async with lane.transaction():  # Nobody can look meanwhile.
        looking, waiting = (asyncio.create_task(other.permit(1)) for _ in range(2))
        await asyncio.sleep(0)
        for _ in range(3):
            await opener.ended(await opener.permit(1), ConnectionError("down"))
        looking.cancel()
    permits = await asyncio.gather(looking, waiting, return_exceptions=True)
    assert [type(permit) for permit in permits] == [asyncio.CancelledError, Refused]


class Orchestrator:
    """Sends each command again when its `retry` says so, with a rising number, and counts what burnt."""

    def __init__(self, desk, commands: dict[str, ChargeCard]) -> None:
        self.desk, self.commands = desk, commands
        self.attempt = dict.fromkeys(commands, 1)
        self.burnt = defaultdict(int)
        self.parked: set[str] = set()
        self.done: dict[str, Answer] = {}
        self.due: dict[str, float] = {}
        self.seen: set[int] = set()
        desk.send(*(desk.command_row(key, command) for key, command in commands.items()))

    def step(self) -> None:
        rows = self.desk.connection.execute(
            "SELECT seq, kind, operation_key, attempt, outcome, type, payload, nonce FROM amends.outbox "
            "WHERE seq <> ALL(%s) AND kind = 'reply' ORDER BY seq",
            (list(self.seen),),  # a floor would miss rows that commit out of order
        ).fetchall()
        for seq, *values in rows:
            self.seen.add(seq)
            answer = Answer(*values)
            if answer.outcome == "succeeded":
                self.done[answer.key] = answer
                self.due.pop(answer.key, None)
            elif answer.outcome == "retry" and answer.attempt == self.attempt[answer.key]:
                pause_s = answer.problem.retry_after_s
                if answer.type == "BreakerOpen":
                    self.parked.add(answer.key)
                if pause_s is None:
                    self.burnt[answer.key] += 1
                self.due[answer.key] = time.monotonic() + (0.3 if pause_s is None else pause_s)
            else:
                assert answer.outcome == "retry", answer
        ready = [key for key, at in self.due.items() if at <= time.monotonic()]
        for key in ready:
            del self.due[key]
            self.attempt[key] += 1
        self.desk.send(*(self.desk.command_row(key, self.commands[key], self.attempt[key]) for key in ready))

    def open(self) -> list[object]:
        """For the message of a failure: what is not done, and where it stands."""
        return [
            (self.attempt[key], self.due.get(key), self.desk.answers(key)[-1:], self.desk.connection.execute(
                "SELECT state, attempt, run, deadline - now(), due_at - now(), problem_text FROM amends.inbox "
                "WHERE key = %s", (key,)).fetchall())
            for key in self.commands if key not in self.done
        ][:5]  # fmt: skip

    def until(self, is_so, seconds: float, what: str) -> None:
        end = time.monotonic() + deadline(seconds)
        while not is_so():
            assert time.monotonic() < end, (
                f"{what}: {len(self.done)} done, {len(self.parked)} were parked; {self.open()}"
            )
            self.step()
            time.sleep(0.02)


CLOSINGS = """
    CREATE TABLE closings (at float8);
    CREATE FUNCTION note_closing() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO closings VALUES (extract(epoch FROM clock_timestamp())); RETURN NEW; END $$;
    CREATE TRIGGER closing AFTER UPDATE ON amends.breakers FOR EACH ROW
        WHEN (OLD.state = 'open' AND NEW.state = 'closed') EXECUTE FUNCTION note_closing();
"""


def end_the_outage(desk, gateway) -> bool:
    """If no call is out. Under the row's lock no trial begins meanwhile, and nothing else does while it says open."""
    with desk.connection.transaction():
        state, trial = desk.connection.execute("SELECT state, trial_by FROM amends.breakers FOR UPDATE").fetchone()
        if state != "open" or trial or desk.one("SELECT count(*) FROM amends.inbox WHERE state = 'running'"):
            return False
        gateway.down = False
    return True


def test_after_an_outage_at_most_two_trial_calls_reach_the_gateway(settings, desk, gateway, processes):
    gateway.down = True
    processes.started("payments", n=4, timeout_s=5, longest_delay_s=0.2, concurrency=5, breaker=["gateway", 3, RESET_S])
    commands = {key: ChargeCard(order_id=key) for key in (desk.new_key() for _ in range(CHARGES))}
    orchestrator = Orchestrator(desk, commands)
    orchestrator.until(lambda: len(orchestrator.parked) >= CHARGES * 0.9, 60, "parked while the gateway is down")
    assert gateway.calls == []  # the book has nothing of the outage

    desk.connection.execute(CLOSINGS)
    gateway.delay_s = 0.5
    eventually(lambda: end_the_outage(desk, gateway), 20, "no call is out while the breaker is open")
    orchestrator.until(lambda: len(orchestrator.done) == CHARGES, 90, "charged after the outage")
    closed_at = desk.one("SELECT min(at) FROM closings")
    trials = [call for call in gateway.calls if call[2] < closed_at]
    assert 1 <= len(trials) <= 2, trials
    assert desk.one("SELECT state FROM amends.breakers") == "closed"
    assert (len(gateway.book), gateway.net()) == (CHARGES, CHARGES)
    assert max(orchestrator.burnt.values(), default=0) <= 5
    untouched = [key for key in commands if not orchestrator.burnt[key]]
    assert len(untouched) >= CHARGES * 0.6, "most charges waited without an attempt"
    wakes = sorted(orchestrator.attempt.values())
    assert wakes[-1] <= 60
