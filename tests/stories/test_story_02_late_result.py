"""2, FALSE ALARM: a run was given up, woke, and reported that it had charged: "was a backup restored?".

A deposed run's success is an input: an open row becomes `done`, a done one stays, a closed one is undone again.
"""

from tests.integration.participant.shop import ChargeCard, make_payments

COMMAND = ChargeCard(order_id="o1")


async def test_a_late_success_makes_an_open_row_done(by_steps, make_gateway, desk, key):
    make_gateway()
    async with by_steps(make_payments(lookup=False)) as steps:
        [call] = await steps.take(desk.command_row(key, COMMAND))
        charged = await steps.make(call)
        await steps.deadlines_pass()
        await steps.scan()
        assert desk.state(key) == "retryable"
        assert await steps.store(charged) == []
        assert desk.state(key) == "done"
        assert [answer.outcome for answer in desk.answers(key)] == ["retry", "succeeded"]
        assert desk.one("SELECT count(*) FROM charges") == 1


async def test_a_late_success_of_a_closed_row_is_taken_back(by_steps, make_gateway, desk, key):
    gateway = make_gateway()
    async with by_steps(make_payments(lookup=False)) as steps:
        [call] = await steps.take(desk.command_row(key, COMMAND))
        await steps.deadlines_pass()
        await steps.scan()
        await steps.finish(await steps.take(desk.undo_row(key, COMMAND, "unknown")))
        assert desk.state(key) == "undone"
        charged = await steps.make(call)  # It was stopped between its look at the deadline and the call.
        assert gateway.net() == 1
        [undo] = await steps.store(charged)
        assert desk.state(key) == "undoing"
        await steps.finish([undo])
        assert (desk.state(key), gateway.net()) == ("undone", 0)
        assert desk.one("SELECT count(*) FROM charges WHERE refund_id IS NULL") == 0


async def test_a_late_success_after_another_attempts_success_changes_nothing(by_steps, make_gateway, desk, key):
    gateway = make_gateway()
    async with by_steps(make_payments(lookup=False)) as steps:
        [call] = await steps.take(desk.command_row(key, COMMAND))
        await steps.deadlines_pass()
        await steps.scan()
        await steps.finish(await steps.take(desk.command_row(key, COMMAND, 2)))
        assert await steps.store(await steps.make(call)) == []
        assert (desk.state(key), len(gateway.book)) == ("done", 1)
