"""What the webhook answers to whom, and what of it reaches the saga: once, whenever it comes, however often."""

import json
import time
from typing import Any

import httpx
import psycopg
import pytest

from services.delivery import webhook
from services.delivery.signature import SIGNATURE_HEADER, TOLERANCE_S, WEBHOOK_PATH
from services.gateway.webhooks import signed
from tests.deadlines import eventually
from tests.integration.services.delivery.shop import PATIENT, SECRET, Shop

pytestmark = [pytest.mark.serial, PATIENT]

CENTS = 4500


def post(shop: Shop, body: bytes, header: str | None = None, at_s: float | None = None) -> httpx.Response:
    """As the provider would; signed now unless said otherwise."""
    header = signed(SECRET, body, int(at_s or time.time())) if header is None else header
    url = f"http://127.0.0.1:{shop.ports['webhook']}{WEBHOOK_PATH}"
    return httpx.post(url, content=body, headers={SIGNATURE_HEADER: header}, timeout=20)


def event(payment_id: str, id: str = "evt_of_the_test", type: str = "payment.paid", **more: Any) -> bytes:
    payment = {"id": payment_id, "amount": "45.00"}
    return json.dumps({"id": id, "type": type, "payment": payment, **more}).encode()


def messages(shop: Shop, order: str) -> int:
    """How many came in at the saga."""
    query = """
        SELECT count(*) AS n FROM amends.journal JOIN amends.sagas USING (saga_no)
        WHERE id = %s AND body::json->0->>'in' = 'message'
    """
    return int(shop.rows("orchestrator", query, order)[0]["n"])


def test_nothing_is_believed_that_the_provider_did_not_sign_now(shop: Shop) -> None:
    order = shop.order()
    body = event(shop.asked(order))
    assert post(shop, body, header="").status_code == 401
    assert post(shop, body, header=signed("guessed", body, int(time.time()))).status_code == 401
    assert post(shop, body, at_s=time.time() - TOLERANCE_S - 60).status_code == 401
    assert post(shop, body + b" ", header=signed(SECRET, body, int(time.time()))).status_code == 401
    assert shop.rows("payments", "SELECT * FROM provider_events WHERE event_id = 'evt_of_the_test'") == []
    shop.refuse(order)
    shop.ended(order, "failed")
    assert shop.violations([order]) == []


def test_each_no_says_why(shop: Shop) -> None:
    stranger = post(shop, event("pay_of_somebody_else"))
    assert (stranger.status_code, stranger.headers["content-type"]) == (404, "application/problem+json")
    assert "pay_of_somebody_else" in stranger.json()["detail"]
    for nonsense in (b"", b"[]", b'{"id": "evt 1"}', event("pay-'; DROP")):
        assert post(shop, nonsense).status_code == 422
    assert post(shop, b"x" * (webhook.BODY_BYTES_MAX + 1)).status_code == 413
    url = f"http://127.0.0.1:{shop.ports['webhook']}"
    assert httpx.get(url + WEBHOOK_PATH).status_code == 405


def test_the_same_event_twice_is_one_message_also_at_the_same_time(shop: Shop) -> None:
    order = shop.order()
    shop.asked(order)
    shop.pay(order)
    shop.heard(order)
    body = shop.provider("SELECT body FROM webhooks JOIN payments ON id = payment_id WHERE order_id = ?", order)[0]
    again = [post(shop, body["body"].encode()) for _ in range(3)]
    assert [(one.status_code, one.json()["heard"]) for one in again] == [(200, "before")] * 3
    shop.ended(order, "completed")
    assert messages(shop, order) == 1
    assert shop.violations([order]) == []


def test_a_webhook_that_comes_before_the_saga_waits_is_kept_for_it(shop: Shop) -> None:
    order = shop.order()
    shop.asked(order)
    shop.kill("orchestrator")
    shop.pay(order)
    shop.heard(order)
    shop.start("orchestrator")
    shop.ended(order, "completed")
    assert shop.violations([order]) == []


def test_a_webhook_that_comes_before_our_own_row_is_told_to_come_again(shop: Shop) -> None:
    """The customer pays while the payment service is dead: the provider has a payment that our book does not know."""
    shop.kill("payments")
    shop.start("payments", AMENDS_FAILPOINTS="participant.call.after=kill")
    order = shop.order()
    shop.died("payments")
    shop.pay(order)
    told = "SELECT answer FROM webhooks JOIN payments ON id = payment_id WHERE order_id = ? AND answer = '404'"
    eventually(lambda: shop.provider(told, order), 30, "the provider was told 404")
    shop.start("payments")
    shop.ended(order, "completed")
    shop.told_all(order)
    assert shop.violations([order]) == []


def test_who_pays_in_time_while_we_do_not_listen_gets_it_back_when_we_give_up(shop: Shop) -> None:
    order = shop.order(pay_within_s=3)
    shop.asked(order)
    shop.kill("webhook")
    shop.pay(order)
    shop.ended(order, "failed")
    assert shop.ledger(order) == (CENTS, CENTS)
    shop.start("webhook")
    shop.told_all(order)  # both of them come late, and in any order
    assert shop.status(order) == "failed"
    assert shop.violations([order]) == []


def test_without_its_database_it_says_so_and_is_told_again(shop: Shop) -> None:
    order = shop.order()
    payment = shop.asked(order)
    name = psycopg.conninfo.conninfo_to_dict(shop.urls["payments"])["dbname"]
    with psycopg.connect(shop.stack.database_url, autocommit=True) as admin:
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
        try:
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            away = post(shop, event(payment, id="evt_while_away"))
        finally:
            admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'.encode())
    assert (away.status_code, away.headers["retry-after"]) == (503, "1")
    shop.pay(order)
    shop.ended(order, "completed")
    assert shop.rows("payments", "SELECT * FROM provider_events WHERE event_id = 'evt_while_away'") == []
    assert shop.violations([order]) == []


@pytest.mark.parametrize("place", ["before the commit", "after the commit"])
def test_the_webhook_may_be_killed_on_either_side_of_its_commit(shop: Shop, place: str) -> None:
    order = shop.order()
    payment = shop.asked(order)
    if place == "before the commit":
        with psycopg.connect(shop.urls["payments"]) as holder:
            # Its event is being written by somebody else, so that it waits inside of its transaction.
            holder.execute("LOCK TABLE provider_events IN SHARE MODE")
            shop.pay(order)
            waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO prov%%'"
            eventually(lambda: shop.rows("payments", waits), 30, "the webhook is inside of its transaction")
            shop.kill("webhook")
        assert shop.rows("payments", "SELECT * FROM provider_events WHERE payment_id = %s", payment) == []
        shop.start("webhook")
    else:
        shop.kill("webhook")
        shop.start("killed_webhook")
        shop.pay(order)
        shop.died("killed_webhook")
        written = shop.rows("payments", "SELECT * FROM provider_events WHERE payment_id = %s", payment)
        assert len(written) == 1
        shop.start("webhook")
    shop.ended(order, "completed")
    shop.told_all(order)
    assert messages(shop, order) == 1
    assert shop.violations([order]) == []
