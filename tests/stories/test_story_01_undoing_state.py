"""1, MONEY: `undone` was stored, the process died before the refund, the undo was sent again and answered "undone".

The inbox says `undoing` while the undo calls out, and `undone` only afterwards; whoever holds the row has a deadline.
"""

from tests.integration.participant.shop import ChargeCard, make_payments

COMMAND = ChargeCard(order_id="o1")


async def test_a_process_that_dies_before_the_refund_leaves_it_to_another(by_steps, make_gateway, desk, key):
    gateway = make_gateway()
    async with by_steps(make_payments()) as steps:
        await steps.finish(await steps.take(desk.command_row(key, COMMAND)))
        reply = desk.answers(key)[0].value
        [undo] = await steps.take(desk.undo_row(key, COMMAND, "done", reply))
        assert (desk.state(key), undo.kind) == ("undoing", "undo")
        # The process dies here, and the orchestrator asks again.
        assert await steps.take(desk.undo_row(key, COMMAND, "done", reply, attempt=2)) == []
        assert desk.answers(key, "undone") == []
        assert gateway.net() == 1
        await steps.deadlines_pass()
        await steps.finish(await steps.scan())
        assert gateway.net() == 0
        assert [answer.outcome for answer in desk.answers(key, "undone")] == ["undone"]
        assert desk.state(key) == "undone"


async def test_an_undo_that_comes_after_the_deadline_begins_again_without_a_scan(by_steps, make_gateway, desk, key):
    gateway = make_gateway()
    async with by_steps(make_payments()) as steps:
        await steps.finish(await steps.take(desk.command_row(key, COMMAND)))
        reply = desk.answers(key)[0].value
        await steps.take(desk.undo_row(key, COMMAND, "done", reply))
        await steps.deadlines_pass()
        await steps.finish(await steps.take(desk.undo_row(key, COMMAND, "done", reply, attempt=2)))
        assert gateway.net() == 0
        assert desk.answers(key, "undone")[-1].attempt == 2


async def test_only_the_run_that_holds_the_row_says_undone(by_steps, make_gateway, desk, key):
    gateway = make_gateway()
    async with by_steps(make_payments()) as steps:
        await steps.finish(await steps.take(desk.command_row(key, COMMAND)))
        [stopped] = await steps.take(desk.undo_row(key, COMMAND, "unknown"))
        await steps.deadlines_pass()
        [holder] = await steps.scan()
        await steps.store(await steps.make(stopped))  # It wakes up, refunds, and reports to a row that it lost.
        assert (desk.state(key), desk.answers(key, "undone")) == ("undoing", [])
        await steps.finish([holder])
        assert desk.state(key) == "undone"
        assert gateway.net() == 0
        assert gateway.count("refund", f"{key}:undo") == 2  # under one key: the second changes nothing
