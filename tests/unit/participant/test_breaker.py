"""One process's half of the shared breaker; the table is replaced by a list of what it would be told."""

import asyncio
from dataclasses import dataclass

import pytest

from orchestrator.errors import Failure, Transient
from orchestrator.participant import Breaker
from orchestrator.participant.breaker import NotCalled, Permit, Refused, SharedBreakers


class Declined(Failure):
    pass


class Table:
    """Grants every trial, and remembers the verbs."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.grants = True
        self.holds = True

    async def execute(self, statement, params=None, place=None):
        for word, mark in (
            ("trials + 1", "trial"),
            ("'open',", "open"),
            ("'closed',", "close"),
            ("trial_by = NULL", "release"),
        ):
            if word in statement:
                self.told.append(mark)
                return [(1,)] if (self.grants and mark == "trial") or (self.holds and mark == "close") else []
        return []  # A look: nothing new.


@pytest.fixture
def table():
    return Table()


@pytest.fixture
def breaker(table):
    declared = Breaker("gateway", fail_max=3, reset_timeout_s=30)
    return SharedBreakers([declared], "payments", table).get(declared)


async def fail(breaker, times, error=None):
    for _ in range(times):
        await breaker.ended(await breaker.permit(1), error or ConnectionError("down"))


async def test_it_opens_after_so_many_failures_in_a_row(breaker, table):
    await fail(breaker, 2)
    await breaker.ended(Permit(), None)
    await fail(breaker, 2)
    assert not breaker.is_open
    await fail(breaker, 1)
    assert breaker.is_open
    assert table.told == ["open"]
    with pytest.raises(Refused) as refused:
        await breaker.permit(1)
    assert 30 <= refused.value.retry_after_s <= 30 * 1.5 + 1


@pytest.mark.parametrize("error", [Declined(), asyncio.CancelledError(), NotCalled()])
async def test_what_is_no_failure_of_the_other_side_does_not_count(breaker, error):
    await fail(breaker, 10, error)
    assert not breaker.is_open


async def test_a_cancelled_call_does_not_count_as_a_success_either(breaker):
    await fail(breaker, 2)
    await fail(breaker, 1, asyncio.CancelledError())
    await fail(breaker, 1, Transient("503"))
    assert breaker.is_open


async def test_after_the_pause_one_trial_goes_out_and_decides(breaker, table):
    await fail(breaker, 3)
    breaker.learn("open", 0.0, trial_out=False)
    permit = await breaker.permit(1)
    assert permit.trial
    with pytest.raises(Refused):
        await breaker.permit(1)
    await breaker.ended(permit, ConnectionError("still down"))
    assert breaker.is_open
    breaker.learn("open", 0.0, trial_out=False)
    await breaker.ended(await breaker.permit(1), None)
    assert not breaker.is_open
    assert table.told == ["open", "trial", "open", "trial", "close"]


@pytest.mark.parametrize("error", [asyncio.CancelledError(), NotCalled()])
async def test_a_trial_that_was_not_made_is_given_back(breaker, table, error):
    await fail(breaker, 3)
    breaker.learn("open", 0.0, trial_out=False)
    await breaker.ended(await breaker.permit(1), error)
    assert breaker.is_open
    assert table.told[-1] == "release"


async def test_a_trial_of_another_process_is_waited_for(breaker, table):
    await fail(breaker, 3)
    breaker.learn("open", 0.0, trial_out=False)
    table.grants = False
    with pytest.raises(Refused) as refused:
        await breaker.permit(1)
    assert refused.value.retry_after_s <= 1 + 15
    assert breaker.refusal() is not None
    breaker.learn("closed", 0.0, trial_out=False)
    assert await breaker.permit(1) == Permit()


async def test_a_trial_that_outlived_its_permit_closes_nothing(breaker, table):
    await fail(breaker, 3)
    breaker.learn("open", 0.0, trial_out=False)
    permit = await breaker.permit(1)
    table.holds = False  # It took too long: somebody else has the permit by now.
    await breaker.ended(permit, None)
    assert breaker.is_open


@dataclass
class Made:
    error: Exception | None


async def test_what_was_made_is_not_lost_when_the_table_cannot_be_told(breaker, table):
    async def unreachable(*_):
        raise ConnectionError("no database")

    async def call():
        table.execute = unreachable
        return Made(ValueError("down"))

    await fail(breaker, 2)
    made = await breaker.guard(1, call)
    assert str(made.error) == "down"
    assert breaker.is_open


async def test_an_opening_that_the_table_did_not_hear_is_told_again(breaker, table):
    async def unreachable(*_):
        raise ConnectionError("no database")

    heard, table.execute = table.execute, unreachable
    with pytest.raises(ConnectionError):
        await fail(breaker, 3, ValueError("down"))
    breaker.learn("closed", 0.0, trial_out=False)
    assert breaker.is_open  # what happened here and is not told yet counts for more
    table.execute = heard
    await breaker.say()
    assert table.told == ["open"]
