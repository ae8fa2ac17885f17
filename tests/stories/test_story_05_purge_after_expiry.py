"""5, MONEY: an undo left a tombstone, `settled` purged it, and then the old command came from a slow partition and ran.

A row is purged when it is settled and past the expires_at of all that was sent under its key; what is past its own
expires_at and finds no row is not begun.
"""

from tests.integration.participant.shop import ChargeCard, make_payments

COMMAND = ChargeCard(order_id="o1")


async def test_a_tombstone_outlives_settled_until_the_command_has_expired(by_steps, make_gateway, desk, key):
    gateway = make_gateway()
    async with by_steps(make_payments()) as steps:
        slow = desk.command_row(key, COMMAND)
        await steps.take(desk.undo_row(key, COMMAND, "unknown"))
        await steps.take(desk.settled_row("payments", key))
        assert await steps.purge() == 0
        assert await steps.take(slow) == []
        assert (desk.state(key), desk.answers(key)[-1].outcome) == ("refused", "failed")
        await steps.expire()
        assert await steps.purge() == 1
        assert gateway.calls == []


async def test_what_expired_is_not_begun_by_an_inbox_that_forgot(by_steps, make_gateway, desk, key):
    gateway = make_gateway()
    async with by_steps(make_payments()) as steps:
        expired = desk.command_row(key, COMMAND, expires_in_s=-1)
        assert await steps.take(expired) == []
        assert await steps.take(desk.undo_row(desk.new_key(), COMMAND, "unknown", expires_in_s=-1)) == []
        assert gateway.calls == []


async def test_no_row_is_purged_while_a_second_look_is_due(by_steps, make_gateway, desk, key):
    gateway = make_gateway()
    gateway.script.append("lost")
    async with by_steps(make_payments(lookup=False)) as steps:
        await steps.finish(await steps.take(desk.command_row(key, COMMAND)))
        await steps.finish(await steps.take(desk.undo_row(key, COMMAND, "unknown")))
        await steps.take(desk.settled_row("payments", key))
        await steps.expire()
        assert (desk.state(key), await steps.purge()) == ("undone", 0)
        await steps.deadlines_pass()
        await steps.finish(await steps.scan())
        assert await steps.purge() == 1
        assert gateway.net() == 0
