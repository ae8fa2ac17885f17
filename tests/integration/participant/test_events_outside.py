"""Events whose handler calls out: once each under its id, in order for each key, tried again, in nobody's way."""

import asyncio

import pytest

from orchestrator.errors import Transient
from orchestrator.participant import Participant
from tests.deadlines import deadline
from tests.integration.participant.bench import benched
from tests.integration.participant.shop import OrderPaid, StockLow


class Mailer:
    """What the outside saw."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.failures: list[Exception] = []
        self.out = self.most = 0

    def participant(self, **options) -> Participant[None]:
        mail = Participant("mail")

        @mail.on(OrderPaid, effect="external", timeout_s=5, **options)
        async def send(event, ctx):
            self.out += 1
            self.most = max(self.most, self.out)
            try:
                await asyncio.sleep(0.05)
                if event.trouble and self.failures:
                    raise self.failures.pop(0)
                self.sent.append((ctx.key, event.order_id))
                ctx.publish(StockLow(item=event.order_id))
            finally:
                self.out -= 1

        return mail


@pytest.fixture
def mailer():
    return Mailer()


async def until_done(inbox, n: int) -> None:
    async with asyncio.timeout(deadline(30)):
        while inbox.one("SELECT count(*) FROM amends.inbox_events WHERE state = 'done'") < n:
            await asyncio.sleep(0.02)


async def test_each_is_sent_once_concurrently_under_its_id(inbox, inbox_url, mailer):
    rows = [inbox.event_row(OrderPaid(order_id=f"o{i}"), f"00000000-0000-4000-8000-{i:012}") for i in range(20)]
    async with benched(mailer.participant(concurrency=4), inbox_url) as bench:
        await bench.handle(*rows, *rows)
        await until_done(inbox, 20)
    assert sorted(mailer.sent) == [(row.id, f"o{i}") for i, row in enumerate(rows)]
    assert mailer.most == 4
    assert inbox.one("SELECT count(*) FROM amends.outbox WHERE kind = 'event'") == 20


async def test_a_key_keeps_its_order_through_failures_and_pauses(inbox, inbox_url, mailer):
    mailer.failures = [ConnectionError("down"), Transient("later", retry_after_s=0.2)]
    rows = [inbox.event_row(OrderPaid(order_id="o1", trouble="yes" if i == 0 else "")) for i in range(3)]
    rows += [inbox.event_row(OrderPaid(order_id="o2"))]
    async with benched(mailer.participant(), inbox_url) as bench:
        await bench.handle_all(rows)
        await until_done(inbox, 4)
        ids = [
            inbox.one("SELECT event_id::text FROM amends.inbox_events ORDER BY arrival OFFSET %s LIMIT 1", i)
            for i in range(3)
        ]
    assert mailer.sent[0][1] == "o2"
    assert [key for key, order in mailer.sent if order == "o1"] == ids
    assert inbox.one("SELECT attempts FROM amends.inbox_events ORDER BY arrival LIMIT 1") == 2


async def test_an_event_whose_process_died_is_sent_again(inbox, inbox_url, mailer):
    row = inbox.event_row(OrderPaid(order_id="o1"))
    async with benched(mailer.participant(), inbox_url) as bench:
        inbox.connection.execute(
            "INSERT INTO amends.inbox_events (participant, event_id, topic, key, type, state, payload, due_at, run) "
            "VALUES ('mail', gen_random_uuid(), 'orders', 'o1', 'OrderPaid', 'running', %s, now(), 1)",
            (row.payload,),
        )
        await bench.handle(row)
        await until_done(inbox, 2)
    assert [order for _, order in mailer.sent] == ["o1", "o1"]
