"""Rule 8. What a participant may do follows from one row under its lock, in whatever order messages come and whoever
dies. Nobody is outside without a row that says so; only the run that holds the row ends it; a run that is late calls
nobody; "I find nothing" counts only when nothing can be on its way any more.
"""

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import psycopg
import pytest

from orchestrator.participant import Handling, Participant
from orchestrator.participant.calls import Calls
from orchestrator.participant.external import Call
from orchestrator.participant.inbox_states import InboxRow, decide
from orchestrator.participant.outcomes import Ended
from orchestrator.participant.service import Service
from tests.deadlines import eventually_async
from tests.integration.participant.bench import benched
from tests.integration.participant.conftest import aside
from tests.integration.participant.shop import ChargeCard, make_payments
from tests.stories.steps import Steps
from tests.unit.core.shop import Charge, Charged

# ---- every order of everything ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """A gateway that honours keys (one charge for good), a participant with one row, and what is on its way to it.

    `out`: who is outside for the row: a run of the command, or one of the undo; `deposed`: a run that was given up and
    may still land, "mute" within the gateway's longest delay and never heard of, "slow" at any time, and it says so.
    `undo_waits`: an undo met somebody outside.
    """

    row: InboxRow
    attempt: int = 0
    coming: tuple[str, ...] = ("command 1", "command 1", "command 2", "undo")
    out: str = ""
    deposed: str = ""
    undo_waits: bool = False
    charged: bool = False
    refunded: bool = False

    def told(self, event, **changes) -> "World":
        """The row after the event, and whoever is outside because of it."""
        row, action = decide(self.row, event)
        after = replace(self, row=row, **changes)
        if action in ("run", "undo"):
            assert not after.out, f"two are outside for one row after {event}"
            after = replace(after, out=action, undo_waits=False)
        elif action == "wait" and event == "undo_unknown":
            after = replace(after, undo_waits=True)
        return after.go_on()

    def go_on(self) -> "World":
        if self.undo_waits and not self.out and self.row.state in ("done", "failed", "retryable"):
            return replace(self, undo_waits=False).told("undo_unknown")
        return self

    @property
    def paid(self) -> bool:
        return self.charged and not self.refunded


def delivered(world: World):
    for message in set(world.coming):
        rest = list(world.coming)
        rest.remove(message)
        after = replace(world, coming=tuple(rest))
        kind, _, number = message.partition(" ")
        if kind == "undo":
            yield after.told("undo_unknown")
        else:
            newer = world.row.state == "absent" or int(number) > world.attempt
            yield after.told("command" if newer else "repeat", attempt=max(world.attempt, int(number)))


def outside(world: World):
    """What may become of who is outside: it ends, its answer is lost, it dies, it is given up and lands later."""
    if world.out == "run":
        home = replace(world, out="")
        yield home.told("succeeded", charged=True)
        yield home.told("declined")
        for charged in {world.charged, True}:
            yield home.told("lost", charged=charged)
            given_up = replace(home, charged=charged).told("deadline")
            yield given_up.told("lost")  # asked, and found nothing yet
            yield given_up.told("lost", deposed="mute")
            yield given_up.told("lost", deposed="slow")
            if charged:
                yield replace(home, charged=True).told("late")  # its process died, and an early look found it
    if world.out == "undo":
        refunded = replace(world, out="", refunded=world.refunded or world.charged)
        yield refunded.told("undo_ended")
        yield refunded.told("undo_deadline")  # its answer was lost with its process
        yield replace(world, out="").told("undo_deadline")
    if world.deposed:
        yield replace(world, deposed="")  # it never landed
        landed = replace(world, deposed="", charged=True)
        if world.deposed == "mute":
            yield landed
        elif not world.out:
            yield landed.told("late")
    if world.row.recheck and world.deposed != "mute" and not world.out:  # the longest delay is over
        yield world.told("found" if world.paid else "not_found")


def test_in_every_order_and_whoever_dies_what_was_taken_back_is_not_paid() -> None:
    seen, waiting = set(), [World(InboxRow("k:0:1"))]
    ends = set()
    while waiting:
        world = waiting.pop()
        if world in seen:
            continue
        seen.add(world)
        following = [*delivered(world), *outside(world)]
        waiting += following
        if not following:
            assert world.row.state in ("undone", "refused"), world
            assert not world.paid, world
            ends.add((world.row.state, world.charged))
    assert ends == {("undone", False), ("undone", True), ("refused", False)}


# ---- the way out -----------------------------------------------------------------------------------------------------


class Outside:
    """A participant whose calls are written down, and its caller."""

    def __init__(self, *, finds: bool) -> None:
        self.called: list[tuple[str, str]] = []
        self.ended: list[Ended] = []
        self._started = 0
        participant = Participant("payments")

        async def find(cmd: Charge, ctx: Handling) -> Charged | None:
            self.called.append(("lookup", ctx.key))
            return Charged(charge="found") if finds else None

        @participant.handles(Charge, effect="external", lookup=find, timeout_s=1)
        async def charge(cmd: Charge, ctx: Handling) -> Charged:
            self.called.append(("charge", ctx.key))
            return Charged(charge="c")

        @charge.undo
        async def refund(cmd: Charge, charged: Charged, ctx: Handling) -> None:
            self.called.append(("refund", ctx.key))

        self.handler = participant.handlers[Charge.__wire_name__]
        self.calls = Calls(Service(participant), None, self.ended.append)  # type: ignore[arg-type]  # nobody waits

    async def go(self, kind, *, attempt=1, in_doubt=False, left_s=10.0, quiet_in_s=0.0) -> str:
        """Send one out, and tell how it ended."""
        now = time.monotonic()
        self._started += 1
        self.calls.start(
            Call(
                kind=kind,
                key="k:0:1",
                run=1,
                saga_id="s",
                attempt=attempt,
                handler=self.handler,
                command=Charge(amount=45),
                reply=None,
                in_doubt=in_doubt,
                give_up_at=now + left_s,
                quiet_at=now + quiet_in_s,
                hold_s=left_s,
                expires_at=datetime.max.replace(tzinfo=UTC),
                traceparent=None,
            )
        )
        await eventually_async(self._one_more, 10, f"the end of {kind}")
        return type(self.ended[-1].outcome).__name__

    async def _one_more(self) -> bool:
        return len(self.ended) == self._started


@pytest.mark.parametrize("kind", ["do", "undo"])
async def test_who_wakes_after_its_deadline_calls_nobody(kind) -> None:
    gateway = Outside(finds=True)
    assert await gateway.go(kind, left_s=0.9) in ("Postponed", "UndoPostponed")
    assert [what for what, _ in gateway.called if what != "lookup"] == []


async def test_a_lookups_yes_counts_at_once() -> None:
    gateway = Outside(finds=True)
    assert await gateway.go("do", attempt=2, in_doubt=True, quiet_in_s=3600) == "Succeeded"
    assert [what for what, _ in gateway.called] == ["lookup"]


async def test_a_lookups_no_counts_for_a_retry_only_when_nothing_can_be_on_its_way() -> None:
    gateway = Outside(finds=False)
    assert await gateway.go("do", attempt=2, in_doubt=True, quiet_in_s=3600) == "Postponed"
    assert [what for what, _ in gateway.called] == ["lookup"]
    assert await gateway.go("do", attempt=3, in_doubt=True) == "Succeeded"
    assert [what for what, _ in gateway.called] == ["lookup", "lookup", "charge"]


async def test_a_lookups_no_ends_an_undo_only_when_nothing_can_be_on_its_way() -> None:
    gateway = Outside(finds=False)
    assert await gateway.go("undo", in_doubt=True, quiet_in_s=3600) == "UndoEarly"
    assert await gateway.go("undo", in_doubt=True) == "UndoEnded"


async def test_the_undo_has_a_key_of_its_own_that_stays_the_same() -> None:
    gateway = Outside(finds=True)
    for attempt in (1, 2, 3):
        assert await gateway.go("undo", attempt=attempt) == "UndoEnded"
    assert {key for what, key in gateway.called if what == "refund"} == {"k:0:1:undo"}


# ---- the row ---------------------------------------------------------------------------------------------------------


async def test_nobody_is_outside_without_a_row_that_says_so_and_an_undo_waits_for_it(inbox, inbox_url, gateway) -> None:
    gateway.script.append("hold_before")
    key, command = inbox.new_key(), ChargeCard(order_id="o1")
    async with benched(make_payments(timeout_s=10), inbox_url) as bench:
        await bench.handle(inbox.command_row(key, command))
        await aside(gateway.held.wait, 10)
        assert inbox.one("SELECT state = 'running' AND deadline > now() AND due_at = deadline FROM amends.inbox")
        await bench.handle(inbox.undo_row(key, command, "unknown"))
        assert (inbox.answers(), inbox.state(key)) == ([], "running")
        gateway.release.set()
        await aside(inbox.answer, key, "undone")
    assert (len(gateway.book), gateway.net()) == (1, 0)


async def test_a_run_that_lost_its_row_does_not_end_it(inbox, inbox_url, gateway) -> None:
    gateway.script.append("hold_before")
    key = inbox.new_key()
    async with benched(make_payments(timeout_s=1.0, lookup=False), inbox_url) as bench:
        await bench.handle(inbox.command_row(key, ChargeCard(order_id="o1")))
        await aside(gateway.held.wait, 10)
        inbox.connection.execute("UPDATE amends.inbox SET run = run + 1, deadline = now() + interval '1 hour'")
    assert (inbox.answers(), inbox.state(key)) == ([], "running")


# ---- the process is dead ---------------------------------------------------------------------------------------------


async def test_a_dead_process_is_asked_after_before_its_deadline_and_a_yes_counts_at_once(
    inbox, inbox_url, gateway
) -> None:
    key, command = inbox.new_key(), ChargeCard(order_id="o1")
    victim, other = (Steps(make_payments(timeout_s=60), inbox_url) for _ in range(2))
    async with other.open():
        async with victim.open():
            (call,) = await victim.take(inbox.command_row(key, command))
            assert await other.scan() == []  # It is alive.
        (look,) = await eventually_async(other.scan, 10, "the session of the dead has ended")
        await other.finish([look])
        assert inbox.state(key) == "running"  # A no counts only after the deadline: its request may be on its way.
        assert inbox.answers() == []

        gateway.charge(key, command.amount)  # It lands.
        assert await other.scan() == []
        (look,) = await eventually_async(other.scan, 10, "the next look")
        await other.finish([look])
        assert (inbox.state(key), inbox.answers()[0].outcome) == ("done", "succeeded")
        assert inbox.one("SELECT due_at IS NULL FROM amends.inbox")
    assert (look.run, call.run, gateway.net()) == (0, 1, 1)


async def test_a_lost_session_is_no_death_its_run_still_ends_the_row(inbox, inbox_url, gateway) -> None:
    gateway.script.append("declined")
    key, command = inbox.new_key(), ChargeCard(order_id="o1")
    holder, other = (Steps(make_payments(timeout_s=60), inbox_url) for _ in range(2))
    async with other.open(), holder.open():
        (call,) = await holder.take(inbox.command_row(key, command))
        inbox.one("SELECT pg_terminate_backend(holder) FROM amends.inbox")
        (look,) = await eventually_async(other.scan, 10, "its session has ended")
        await other.finish([look])
        with pytest.raises(psycopg.OperationalError):  # It finds out, and opens another one.
            await holder.scan()
        await holder.finish([call])
    (answer,) = inbox.answers()
    assert (answer.outcome, answer.type, answer.problem.effect) == ("failed", "CardDeclined", "none")


async def test_without_a_lookup_a_dead_process_keeps_its_row_until_the_deadline(inbox, inbox_url, gateway) -> None:
    key = inbox.new_key()
    victim, other = (Steps(make_payments(timeout_s=60, lookup=False), inbox_url) for _ in range(2))
    async with other.open():
        async with victim.open():
            await victim.take(inbox.command_row(key, ChargeCard(order_id="o1")))

        async def noticed() -> bool:
            assert await other.scan() == []
            return bool(inbox.one("SELECT holder IS NULL FROM amends.inbox"))

        await eventually_async(noticed, 10, "the session of the dead has ended")
        assert (inbox.state(key), inbox.answers()) == ("running", [])
        await other.deadlines_pass()
        assert await other.scan() == []
        assert (inbox.answers()[0].outcome, inbox.answers()[0].problem.effect) == ("retry", "unknown")
