"""4, MONEY: a process stopped between "running is committed" and its call woke after the undo and charged.

A run looks at its deadline last thing before it calls. What is left is a stop between that look and the call; only a
gateway that honours keys closes it: the undo repeats the call under its key first, which pins the answer.
"""

import pytest

from tests.integration.participant.shop import ChargeCard, make_payments
from tests.stories.steps import past_its_deadline

COMMAND = ChargeCard(order_id="o1")


@pytest.mark.parametrize("lookup", [True, False])
async def test_who_wakes_after_his_deadline_does_not_call(by_steps, make_gateway, desk, key, lookup):
    gateway = make_gateway(honours_keys=False)
    async with by_steps(make_payments(lookup=lookup, longest_delay_s=60)) as steps:
        [stopped] = await steps.take(desk.command_row(key, COMMAND))
        await steps.deadlines_pass()
        await steps.finish(await steps.scan())
        await steps.finish(await steps.take(desk.undo_row(key, COMMAND, "unknown")))
        await steps.quiet()
        for _ in ("the undo, if it had to wait", "the second look"):
            await steps.deadlines_pass()
            await steps.finish(await steps.scan())
        assert desk.state(key) == "undone"
        await steps.finish([past_its_deadline(stopped)])
        assert gateway.count("charge") == 0
        assert (desk.state(key), gateway.net()) == ("undone", 0)


async def test_a_stopped_undo_does_not_call_either(by_steps, make_gateway, desk, key):
    gateway = make_gateway()
    async with by_steps(make_payments()) as steps:
        await steps.finish(await steps.take(desk.command_row(key, COMMAND)))
        [stopped] = await steps.take(desk.undo_row(key, COMMAND, "unknown"))
        await steps.deadlines_pass()
        await steps.finish(await steps.scan())
        await steps.finish([past_its_deadline(stopped)])
        assert gateway.count("refund") == 1


async def test_pinning_takes_the_effect_from_a_call_that_comes_after_the_undo(by_steps, make_gateway, desk, key):
    gateway = make_gateway()
    async with by_steps(make_payments(lookup=False, pin=True)) as steps:
        [stopped] = await steps.take(desk.command_row(key, COMMAND))
        await steps.deadlines_pass()
        await steps.finish(await steps.scan())
        await steps.finish(await steps.take(desk.undo_row(key, COMMAND, "unknown")))
        assert (desk.state(key), gateway.net()) == ("undone", 0)
        assert [what for what, _, _ in gateway.calls] == ["charge", "refund"]
        await steps.make(stopped)  # It had looked at its deadline before it was stopped, and calls now.
        assert gateway.net() == 0
        assert len(gateway.book) == 1
