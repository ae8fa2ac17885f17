"""A10, MONEY: a payment's webhook came before its order's saga and was dropped; another came twice and counted two."""

from orchestrator import Message, Saga, SyncClient, saga
from tests.deadlines import deadline, eventually
from tests.integration.engine.kit import System


class Add(Message, name="HolesAdd"):
    amount: int


@saga
async def collects(s: Saga, wanted: int) -> list[int]:
    return [(await s.receive(Add)).amount for _ in range(wanted)]


def test_early_ones_wait_doubles_count_once_and_late_ones_lie_where_people_find_them(system: System) -> None:
    system.relay()
    system.orchestrator([collects])
    with SyncClient(system.settings) as client:
        for amount, webhook in ((10, "w1"), (10, "w1"), (20, "w2")):
            client.send("order", Add(amount=amount), message_id=webhook)
        kept = "SELECT 1 FROM amends.mailbox OFFSET 1"
        eventually(lambda: system.rows(kept), 30, "two lie in the mailbox")
        client.start(collects, 3, id="order")
        began = "SELECT 1 FROM amends.sagas WHERE status = 'running'"
        eventually(lambda: system.rows(began), 30, "it runs")
        for amount, webhook in ((20, "w2"), (10, "w1"), (30, "w3")):
            client.send("order", Add(amount=amount), message_id=webhook)
        assert client.result(collects, "order", timeout=deadline(30)) == [10, 20, 30]
        client.send("order", Add(amount=40), message_id="w4")
        letters = "SELECT saga_id, type, kind FROM amends.dead_letters"
        assert eventually(lambda: system.rows(letters), 30, "a dead letter") == [("order", "HolesAdd", "message")]
    assert system.rows("SELECT 1 FROM amends.mailbox") == []
