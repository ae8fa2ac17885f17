"""3, MONEY: the lookup said "nothing" while the first request was still on its way; the second attempt charged too.

A lookup's yes counts at once, its no only after the deadline plus the gateway's longest delay, for a retry as for an
undo. The gateway here honours no keys.
"""

import asyncio

from tests.deadlines import deadline
from tests.integration.participant.conftest import aside
from tests.integration.participant.shop import ChargeCard, make_payments

COMMAND = ChargeCard(order_id="o1")


async def test_a_retry_waits_until_the_first_request_must_have_landed(by_steps, make_gateway, desk, key):
    gateway = make_gateway(honours_keys=False)
    gateway.script.append("hold_before")
    payments = make_payments(timeout_s=deadline(0.5), longest_delay_s=60)
    async with by_steps(payments) as steps:
        await steps.finish(await steps.take(desk.command_row(key, COMMAND)))
        lost = desk.answers(key)[-1]
        assert (lost.outcome, lost.problem.effect) == ("retry", "unknown")
        await steps.finish(await steps.take(desk.command_row(key, COMMAND, 2)))
        early = desk.answers(key)[-1]
        assert (early.outcome, early.problem.type) == ("retry", "TooEarly")
        assert early.problem.retry_after_s > 30  # burns no attempt
        assert gateway.count("charge") == 1
        gateway.release.set()
        await aside(lambda: gateway.thread.join(0))
        while not gateway.book:
            await asyncio.sleep(0.01)
        await steps.finish(await steps.take(desk.command_row(key, COMMAND, 3)))
        assert desk.answers(key)[-1].outcome == "succeeded"
        assert len(gateway.book) == 1


async def test_an_undo_waits_as_long(by_steps, make_gateway, desk, key):
    gateway = make_gateway(honours_keys=False)
    gateway.script.append("hold_before")
    payments = make_payments(timeout_s=deadline(0.5), longest_delay_s=60)
    async with by_steps(payments) as steps:
        await steps.finish(await steps.take(desk.command_row(key, COMMAND)))
        await steps.finish(await steps.take(desk.undo_row(key, COMMAND, "unknown")))
        assert (desk.state(key), desk.answers(key, "undone")) == ("undoing", [])
        gateway.release.set()
        while not gateway.book:
            await asyncio.sleep(0.01)
        await steps.deadlines_pass()
        await steps.finish(await steps.scan())
        assert (desk.state(key), gateway.net()) == ("undone", 0)
