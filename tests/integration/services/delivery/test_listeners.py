"""Who only listens: no saga knows of them, they may be away, they miss nothing, and they count nothing twice."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from uuid import uuid4

import psycopg
import pytest
from confluent_kafka import Consumer, Message, Producer

from tests.deadlines import deadline, eventually
from tests.integration.services.delivery.shop import LISTENING, PATIENT, ROOT, Shop

pytestmark = [pytest.mark.serial, PATIENT]


@pytest.fixture
def listening(shop: Shop) -> Iterator[Shop]:
    shop.start(*LISTENING)
    yield shop
    shop.start(*LISTENING)


def sell(shop: Shop) -> str:
    order = shop.order()
    shop.asked(order)
    shop.pay(order)
    shop.ended(order, "completed")
    return order


def lose(shop: Shop) -> str:
    order = shop.order()
    shop.asked(order)
    shop.refuse(order)
    shop.ended(order, "failed")
    return order


def subjects(shop: Shop, order: str) -> list[str]:
    return [mail["subject"].removeprefix(f"Order {order} ") for mail in shop.mails(order)]


def sale(shop: Shop, order: str) -> list[tuple[Decimal, bool]]:
    rows = shop.rows("analytics", "SELECT paid, is_cancelled FROM sales WHERE order_id = %s", order)
    return [(row["paid"], row["is_cancelled"]) for row in rows]


def receipts(shop: Shop, *orders: str) -> list[str]:
    """Who made them."""
    query = "SELECT made_by FROM receipts WHERE order_id = ANY(%s) AND substr(pdf, 1, 4) = '%%PDF'::bytea"
    return [row["made_by"] for row in shop.rows("receipts", query, list(orders))]


def test_who_was_stopped_for_a_while_catches_up(listening: Shop) -> None:
    shop = listening
    for name in LISTENING:
        shop.kill(name, signal.SIGTERM)
    sold, lost = sell(shop), lose(shop)
    assert sale(shop, sold) == sale(shop, lost) == []
    shop.start("analytics", "email", "receipts")  # and the mail server is away for longer
    eventually(lambda: sale(shop, sold) == [(Decimal("45.00"), False)], 60, "the sale is counted")
    eventually(lambda: sale(shop, lost) == [(Decimal(0), True)], 60, "the cancelled one counts for nothing")
    eventually(lambda: receipts(shop, sold) == ["job"], 60, "there is a receipt")
    assert receipts(shop, lost) == []
    shop.start("mail")
    eventually(lambda: subjects(shop, sold) == ["is placed", "is paid", "is on its way"], 90, "all mail of the sale")
    eventually(lambda: subjects(shop, lost) == ["is placed", "is cancelled"], 90, "all mail of the other")
    assert {mail["recipient"] for mail in shop.mails(sold)} == {"ada@customers.example"}


def test_an_event_that_comes_twice_sends_one_mail_and_counts_once(listening: Shop) -> None:
    shop = listening
    order = sell(shop)
    eventually(lambda: len(shop.mails(order)) == 3, 60, "all its mail")
    events = events_of(shop, order)
    assert len(events) == 3
    producer = Producer({"bootstrap.servers": shop.stack.kafka_bootstrap_servers})
    for event in events * 2:
        producer.produce(event.topic(), event.value(), event.key(), headers=event.headers())
    producer.flush(deadline(30))
    later = order_of_the_same_partition(shop, events[0])
    eventually(lambda: len(shop.mails(later)) == 3, 90, "what came after the copies is handled")
    eventually(lambda: sale(shop, later), 60, "by analytics too")
    assert [mail["times"] for mail in shop.mails(order)] == [1, 1, 1]
    assert sale(shop, order) == [(Decimal("45.00"), False)]
    heard = shop.rows("analytics", "SELECT outcome FROM outcomes WHERE order_id = %s", order)
    assert [row["outcome"] for row in heard] == ["paid"]
    assert len(receipts(shop, order)) == 1


def test_a_mail_whose_sender_died_is_sent_again_and_recognised(listening: Shop) -> None:
    """The mail server has it, and the inbox has not noted that when its process is killed."""
    shop = listening
    shop.kill("email")
    shop.start("email", AMENDS_FAILPOINTS="participant.events.before=kill")
    order = shop.order()
    shop.died("email")
    assert [mail["times"] for mail in shop.mails(order)] == [1]
    shop.start("email")
    eventually(lambda: shop.mails(order)[0]["times"] == 2, 120, "it comes a second time")
    assert len(shop.mails(order)) == 1
    shop.asked(order)
    shop.refuse(order)
    shop.ended(order, "failed")


def test_receipts_that_the_queue_has_lost_are_found_and_made(listening: Shop) -> None:
    shop = listening
    lost = jobs_lost(shop, 2)
    said = subprocess.run(
        [sys.executable, "-m", "services.delivery.receipts", "reconcile"],
        cwd=ROOT,
        env=shop._environment("receipts"),
        capture_output=True,
        text=True,
        check=True,
        timeout=deadline(60),
    ).stdout
    assert "2 were missing, and are made" in said
    assert receipts(shop, *lost) == ["reconciliation"] * 2
    shop.start("receipts")
    sold = sell(shop)
    eventually(lambda: receipts(shop, sold) == ["job"], 60, "the queue goes on")
    assert receipts(shop, *lost) == ["reconciliation"] * 2


def test_nobody_has_to_ask_for_the_lost_ones(listening: Shop) -> None:
    shop = listening
    (lost,) = jobs_lost(shop, 1)
    shop.start("receipts")
    eventually(lambda: receipts(shop, lost) == ["reconciliation"], 150, "the minute's reconciliation has made it")


def jobs_lost(shop: Shop, n: int) -> list[str]:
    """Pay so many orders, and kill the worker while it is at their receipts: procrastinate does not try them again."""
    with psycopg.connect(shop.urls["receipts"]) as holder:
        holder.execute("LOCK TABLE receipts IN SHARE MODE")
        orders = [sell(shop) for _ in range(n)]
        doing = "SELECT args->>'order_id' AS id FROM procrastinate_jobs WHERE status = 'doing'"
        eventually(
            lambda: set(orders) <= {row["id"] for row in shop.rows("receipts", doing)}, 60, "the worker is at them"
        )
        shop.kill("receipts")
    assert receipts(shop, *orders) == []
    return orders


def events_of(shop: Shop, order: str) -> list[Message]:
    """What Kafka holds about it, as it is."""
    group = {"group.id": str(uuid4()), "auto.offset.reset": "earliest", "enable.auto.commit": False}
    consumer = Consumer({"bootstrap.servers": shop.stack.kafka_bootstrap_servers, **group})
    found: list[Message] = []
    try:
        consumer.subscribe([f"{shop.prefix}orders"])

        def read() -> bool:
            message = consumer.poll(0.2)
            if message is not None and message.error() is None and message.key() == order.encode():
                found.append(message)
            return len(found) == 3

        eventually(read, 60, "its three events")
    finally:
        consumer.close()
    return found


def order_of_the_same_partition(shop: Shop, event: Message) -> str:
    """Sell until an order lies behind the copies: only within a partition one thing comes after another."""
    for _ in range(40):
        order = sell(shop)
        if events_of(shop, order)[0].partition() == event.partition():
            return order
    raise AssertionError("no order of forty fell into that partition")
