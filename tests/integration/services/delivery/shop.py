"""A whole shop for the tests of the delivery: its databases, and each of its processes, to be started and killed."""

import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row
from pydantic import SecretStr

from orchestrator import SyncClient
from orchestrator.local.stack import Stack
from orchestrator.settings import Settings
from services import analytics, orders, payments, shipping, stock
from services.contracts import FoodOrder, Item
from services.delivery import customer, menu, receipts
from services.delivery.auditor import Violation, audit
from services.delivery.saga import delivery
from services.delivery.signature import WEBHOOK_PATH
from tests import servers
from tests.deadlines import deadline, eventually

ROOT = Path(__file__).parents[4]
SECRET = "whsec_of_the_tests"
AMENDS = (sys.executable, "-m", "orchestrator.cli")
TABLES = {
    "orders": orders,
    "stock": stock,
    "payments": payments,
    "shipping": shipping,
    "analytics": analytics,
    "receipts": receipts,
}
RELAYED = ("orchestrator", "orders", "stock", "payments", "shipping")
DATABASES = (*RELAYED, "analytics", "email", "receipts")
SELLING = ("gateway", "relay", "orchestrator", "orders", "stock", "payments", "shipping", "webhook")
LISTENING = ("analytics", "mail", "email", "receipts")
PARTICIPANTS = {
    **{name: f"services.{name}:{name}" for name in ("orders", "stock", "payments", "shipping", "analytics")},
    "email": "services.delivery.mailer:email",
    "receipts": "services.delivery.receipts:receipts",
}
# A module's first test pays for the start of a dozen processes.
PATIENT = pytest.mark.timeout(deadline(300.0) + 60)
RM_45 = [Item(sku="nasi lemak", quantity=2), Item(sku="teh tarik", quantity=6)]


class Shop:
    """Made once for a module of tests; each test sells orders of its own."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack, self.folder = stack, folder
        self.prefix = f"t.{servers.run_name()}.{secrets.token_hex(4)}."
        self.urls: dict[str, str] = {}
        self.ports = dict(zip(("gateway", "webhook", "mail"), free_ports(3), strict=True))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._sold = 0
        self.client: SyncClient
        self.gateway = httpx.Client(base_url=f"http://127.0.0.1:{self.ports['gateway']}", timeout=20)

    # ---- building and ending

    def build(self) -> None:
        """Databases, tables, topics, portions on the shelves."""
        admin = self.stack.database_url
        self.urls["orchestrator"] = servers.create_database(admin)
        self._migrate("orchestrator", "services.app:app", "engine", "--shards", "4")
        first, *others = DATABASES[1:]
        self.urls[first] = servers.create_database(admin)
        self._migrate(first, "services.app:app", "participant")
        for name in others:
            self.urls[name] = servers.create_database(admin, servers.database_name(self.urls[first]))
        for name in ("email", "receipts"):
            self._migrate(name, PARTICIPANTS[name], "participant")  # They are no part of that app: for their topics.
        for name, module in TABLES.items():
            module.create_tables(self.urls[name])
        stock.deliver(self.urls["stock"], menu.PORTIONS)
        settings = Settings(
            database_url=SecretStr(self.urls["orchestrator"]),
            kafka_bootstrap_servers=self.stack.kafka_bootstrap_servers,
            topic_prefix=self.prefix,
        )
        self.client = SyncClient(settings)

    def _migrate(self, name: str, app: str, part: str, *more: str) -> None:
        command = (*AMENDS, "migrate", app, "--part", part, *more)
        subprocess.run(command, cwd=ROOT, env=self._environment(name), check=True, capture_output=True)

    def close(self) -> None:
        for name in list(self.processes):
            self.kill(name)
        self.client.__exit__(None, None, None)
        self.gateway.close()
        for url in self.urls.values():
            servers.drop_databases(self.stack.database_url, servers.database_name(url))
        servers.delete_topics(self.stack.kafka_bootstrap_servers, self.prefix)

    # ---- processes

    def start(self, *names: str, **environment: str) -> None:
        """Those of them that do not run."""
        for name in names:
            if name not in self.processes:
                log = (self.folder / f"{name}.log").open("ab")
                env = {**self._environment(name), **environment}
                self.processes[name] = subprocess.Popen(self._argv(name), cwd=ROOT, env=env, stdout=log, stderr=log)
                log.close()
        for name in set(names) & set(self.ports):
            eventually(lambda: answers(self.ports[name]), 60, f"{name} listens")  # noqa: B023

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """End it; returns when it is gone."""
        process = self.processes.pop(name)
        process.send_signal(number)
        try:
            process.wait(deadline(30))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def restart(self, name: str) -> None:
        self.kill(name)
        self.start(name)

    def died(self, name: str) -> None:
        """Wait for an end that was arranged for."""
        process = self.processes.pop(name)
        process.wait(deadline(60))

    def _argv(self, name: str) -> Sequence[str]:
        python = sys.executable
        match name:
            case "gateway":
                told_at = f"http://127.0.0.1:{self.ports['webhook']}{WEBHOOK_PATH}"
                book = ("--book", str(self.book), "--port", str(self.ports["gateway"]))
                return (python, "-m", "services.gateway", *book, "--webhook-url", told_at)
            case "webhook":
                return (python, "-m", "services.delivery.webhook", "--port", str(self.ports["webhook"]))
            case "killed_webhook":
                module = "tests.integration.services.delivery.killed_webhook"
                return (python, "-m", module, str(self.ports["webhook"]))
            case "mail":
                box = ("--box", str(self.mailbox), "--port", str(self.ports["mail"]))
                return (python, "-m", "services.delivery.mail", *box)
            case "relay":
                databases = [part for one in RELAYED for part in ("--database", self.urls[one])]
                return (*AMENDS, "relay", *databases)
            case "orchestrator":
                return (*AMENDS, "orchestrator", "services.sagas:app")
            case _:
                return (*AMENDS, "participant", PARTICIPANTS[name])

    def _environment(self, name: str) -> dict[str, str]:
        database = {"webhook": "payments", "killed_webhook": "payments"}.get(name, name)
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith("AMENDS_FAILPOINTS")},
            "DATABASE_URL": self.urls.get(database, self.urls["orchestrator"]),
            "KAFKA_BOOTSTRAP_SERVERS": self.stack.kafka_bootstrap_servers,
            "AMENDS_TOPIC_PREFIX": self.prefix,
            "GATEWAY_URL": f"http://127.0.0.1:{self.ports['gateway']}",
            "MAIL_PORT": str(self.ports["mail"]),
            "WEBHOOK_SECRET": SECRET,
            "PYTHONPATH": str(ROOT),
        }

    # ---- selling

    def order(
        self,
        *,
        card: str = menu.GOOD_CARD,
        address: str = menu.GOOD_ADDRESS,
        dishes: Sequence[Item] = RM_45,
        pay_within_s: float = 300.0,
    ) -> str:
        """Place an order of RM 45; its id."""
        self._sold += 1
        order_id = f"order-{self._sold}"
        order = FoodOrder(
            order_id=order_id,
            customer="Ada",
            address=address,
            card=card,
            dishes=list(dishes),
            total=menu.total(dishes),
            pay_within_s=pay_within_s,
        )
        self.client.start(delivery, order, id=order_id)
        return order_id

    def asked(self, order_id: str) -> str:
        """Wait until the payment is asked for, and known by our own book; its id."""

        def known() -> str | None:
            rows = self.rows("payments", "SELECT payment_id FROM payment_requests WHERE order_id = %s", order_id)
            return str(rows[0]["payment_id"]) if rows else None

        return eventually(known, 60, f"the payment of {order_id} is asked for")

    def pay(self, order_id: str, card: str | None = None) -> httpx.Response:
        return customer.answer(self.gateway, order_id, "pay", card)

    def refuse(self, order_id: str) -> httpx.Response:
        return customer.answer(self.gateway, order_id, "refuse")

    def heard(self, order_id: str, kind: str = "payment.paid") -> None:
        """Wait until the webhook has written it down."""
        query = """
            SELECT event_id FROM provider_events JOIN payment_requests USING (payment_id)
            WHERE order_id = %s AND type = %s
        """
        eventually(lambda: self.rows("payments", query, order_id, kind), 60, f"{kind} of {order_id} is heard")

    def status(self, order_id: str) -> str:
        rows = self.rows("orchestrator", "SELECT status FROM amends.sagas WHERE id = %s", order_id)
        return str(rows[0]["status"]) if rows else "none"

    def ended(self, order_id: str, status: str, seconds: float = 60) -> None:
        """Wait until its saga has ended so."""

        def has() -> bool:
            now = self.status(order_id)
            assert now == status or now not in ("completed", "failed", "cancelled", "terminated"), now
            return now == status

        eventually(has, seconds, f"{order_id} is {status}")

    def told_all(self, *order_ids: str) -> None:
        """Wait until the provider owes no webhook about these."""
        query = "SELECT count(*) AS n FROM webhooks JOIN payments ON payments.id = payment_id WHERE due_at IS NOT NULL"
        marks = ", ".join("?" * len(order_ids))
        owed = f"{query} AND order_id IN ({marks})"
        eventually(lambda: self.provider(owed, *order_ids)[0]["n"] == 0, 60, "the provider has told all")

    # ---- the books

    def rows(self, database: str, query: str, *params: Any) -> list[dict[str, Any]]:
        with psycopg.connect(self.urls[database], row_factory=dict_row) as connection:
            return connection.execute(query.encode(), params).fetchall()

    def provider(self, query: str, *params: Any) -> list[dict[str, Any]]:
        return sqlite_rows(self.book, query, *params)

    def mails(self, order_id: str) -> list[dict[str, Any]]:
        return sqlite_rows(self.mailbox, "SELECT * FROM mails WHERE order_id = ? ORDER BY at", order_id)

    def ledger(self, order_id: str) -> tuple[int, int]:
        """Cents taken and given back, by the provider's book."""
        query = "SELECT coalesce(sum(taken_cents), 0) AS taken, coalesce(sum(back_cents), 0) AS back FROM ledger"
        row = self.provider(f"{query} WHERE order_id = ?", order_id)[0]
        return row["taken"], row["back"]

    def violations(self, order_ids: Iterable[str]) -> list[Violation]:
        return audit(self.world, order_ids)

    @property
    def world(self) -> Mapping[str, Any]:
        return {"databases": self.urls, "gateway_book": str(self.book)}

    @property
    def book(self) -> Path:
        return self.folder / "gateway.sqlite"

    @property
    def mailbox(self) -> Path:
        return self.folder / "mail.sqlite"


def sqlite_rows(path: Path, query: str, *params: Any) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute(query, params)]


def free_ports(n: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
