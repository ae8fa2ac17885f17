"""6, MONEY: `unknown` met no row and became a tombstone, though the row of a command that had run was long purged.

It is a tombstone only if the command is younger than the inbox's horizon; an older one is undone in doubt.
"""

from orchestrator import limits
from tests.integration.participant.shop import ChargeCard, make_payments

COMMAND = ChargeCard(order_id="o1")
OLD_S = limits.INBOX_HORIZON_S + 86_400.0


async def test_an_undo_whose_command_is_past_the_horizon_really_undoes(by_steps, make_gateway, desk, key):
    gateway = make_gateway()
    async with by_steps(make_payments()) as steps:
        await steps.finish(await steps.take(desk.command_row(key, COMMAND)))
        desk.connection.execute("UPDATE amends.inbox SET created_at = now() - make_interval(secs => %s)", (OLD_S,))
        assert await steps.purge() == 1
        await steps.finish(await steps.take(desk.undo_row(key, COMMAND, "unknown", age_s=OLD_S)))
        assert (desk.answers(key, "undone")[-1].outcome, gateway.net()) == ("undone", 0)


async def test_a_young_ones_undo_leaves_a_tombstone(by_steps, make_gateway, desk, key):
    gateway = make_gateway()
    async with by_steps(make_payments()) as steps:
        assert await steps.take(desk.undo_row(key, COMMAND, "unknown")) == []
        assert (desk.state(key), desk.answers(key, "undone")[-1].outcome) == ("refused", "undone")
        assert gateway.calls == []
