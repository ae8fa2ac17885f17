"""The way through the whole process: a command from Kafka, its answer in the outbox, and back again."""

from tests.integration.participant.conftest import aside, running
from tests.integration.participant.shop import ChargeCard, Count, ReserveStock, make_payments, stock


async def test_a_local_command_is_done_once_and_taken_back(settings, desk):
    key, command = desk.new_key(), ReserveStock(order_id="o1", quantity=2)
    async with running(stock, settings):
        desk.command(key, command)
        answer = await aside(desk.answer, key)
        assert (answer.outcome, answer.attempt, answer.value) == ("succeeded", 1, {"reservation": "r-o1"})
        assert answer.nonce == f"nonce-{key}"
        desk.command(key, command, attempt=2)
        again = await aside(desk.answer, key, n=2)
        assert (again.outcome, again.attempt, again.value) == ("succeeded", 2, answer.value)
        assert desk.one("SELECT available FROM stock WHERE item = 'book'") == 998
        desk.undo(key, command, "done", answer.value)
        assert (await aside(desk.answer, key, "undone")).outcome == "undone"
        assert desk.one("SELECT available FROM stock WHERE item = 'book'") == 1000
        assert desk.one("SELECT count(*) FROM reservations") == 0


async def test_a_session_sees_the_same_transaction(settings, desk):
    first, second = desk.new_key(), desk.new_key()
    async with running(stock, settings):
        desk.send(
            desk.command_row(first, ReserveStock(order_id="o1", item="pen")),
            desk.command_row(second, Count(item="pen")),
        )
        await aside(desk.answer, first)
        assert (await aside(desk.answer, second)).value in (999, 1000)


async def test_an_external_command_calls_with_its_key_and_records(settings, desk, gateway):
    key, command = desk.new_key(), ChargeCard(order_id="o1")
    async with running(make_payments(), settings):
        desk.command(key, command)
        answer = await aside(desk.answer, key)
        assert (answer.outcome, answer.value) == ("succeeded", {"charge_id": "ch-1"})
        assert [c.key for c in gateway.book] == [key]
        assert desk.one("SELECT order_id FROM charges") == "o1"
        assert desk.one("SELECT count(*) FROM amends.outbox WHERE kind = 'event'") == 1
        desk.undo(key, command, "done", answer.value)
        assert (await aside(desk.answer, key, "undone")).outcome == "undone"
        assert gateway.net() == 0
        assert gateway.count("refund", f"{key}:undo") == 1
        assert desk.one("SELECT refund_id FROM charges") == f"re-{key}:undo"
        assert gateway.count("lookup") == 0
