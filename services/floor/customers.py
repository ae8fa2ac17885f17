"""The customers of a stream: each looks for its payment at the provider, thinks for a while, and pays, or does not.

A payment is found in the gateway's own book, as the page of the provider would show it to its customer; it is paid over
HTTP, as on that page.
"""

import asyncio
import json
import logging
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Literal, LiteralString

import httpx

from services.floor.limits import ADMIN_TIMEOUT_S, CUSTOMERS_MAX, CUSTOMERS_READ_S, PATIENCE_S
from services.floor.problems import Refusal

log = logging.getLogger("services.floor")

Answer = Literal["pay", "refuse"]
Manner = Literal["by_hand", "pays", "mixed"]

OF_ORDER: LiteralString = "SELECT id FROM payments WHERE order_id = ? ORDER BY at DESC LIMIT 1"
OF_ORDERS: LiteralString = """
    SELECT order_id, id FROM payments
    WHERE state = 'pending' AND order_id IN (SELECT value FROM json_each(?))
"""
CONFLICT, DECLINED = 409, 402
SAID_CHARS_MAX = 200
# Of a hundred customers in the manner `mixed`; the others have forgotten that they ordered.
PAY, REFUSE = 80, 95


class NothingToAnswer(Refusal):
    """There is no payment, or it is past that."""

    status = 409
    name = "nothing-to-answer"


class ProviderAway(Refusal):
    """The provider does not answer, or is down."""

    status = 503
    name = "provider-away"


@dataclass(slots=True)
class Customer:
    """What one is going to do, and when; `at_s` is known when the payment is there."""

    answer: Answer
    until_s: float
    at_s: float | None = field(default=None)
    payment: str = ""


class Customers:
    """`close` it at the end."""

    def __init__(self, gateway_url: str, book: Path, chance: Random | None = None) -> None:
        self._gateway = httpx.AsyncClient(base_url=gateway_url, timeout=ADMIN_TIMEOUT_S)
        self._book = book
        self._chance = chance or Random()
        self._waiting: dict[str, Customer] = {}

    async def close(self) -> None:
        """Close its connections."""
        await self._gateway.aclose()

    def expect(self, order_id: str, manner: Manner) -> None:
        """Somebody has placed this order, and will answer in this manner."""
        lot = 0 if manner == "pays" else self._chance.randrange(100)
        if manner != "by_hand" and lot < REFUSE and len(self._waiting) < CUSTOMERS_MAX:
            self._waiting[order_id] = Customer("pay" if lot < PAY else "refuse", time.monotonic() + PATIENCE_S)

    async def answer(self, order_id: str, answer: Answer) -> str:
        """Pay or refuse now; return what came of it. Raises NothingToAnswer, ProviderAway, sqlite3.Error."""
        found = await asyncio.to_thread(self._payment_of, order_id)
        if found is None:
            raise NothingToAnswer(f"{order_id} has no payment at the provider, or not yet. Nothing was changed.")
        self._waiting.pop(order_id, None)
        return await self._at_provider(found, answer)

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                if self._waiting:
                    await self._look()
            except sqlite3.Error as error:
                log.warning("the gateway's book can't be read, trying again: %r", error)
            await asyncio.sleep(CUSTOMERS_READ_S)

    async def _look(self) -> None:
        now_s = time.monotonic()
        searching = [order_id for order_id, one in self._waiting.items() if one.at_s is None]
        for order_id, payment in (await asyncio.to_thread(self._pending, searching)).items():
            one = self._waiting.get(order_id)
            if one is not None:
                one.payment, one.at_s = payment, now_s + self._chance.uniform(0.5, 5.0)
        due = [(order_id, one) for order_id, one in self._waiting.items() if (one.at_s or now_s + 1) <= now_s]
        await asyncio.gather(*(self._act(order_id, one) for order_id, one in due))
        for order_id in [order_id for order_id, one in self._waiting.items() if one.until_s < now_s]:
            del self._waiting[order_id]

    async def _act(self, order_id: str, one: Customer) -> None:
        """A provider that is away is tried again, until the customer has lost patience."""
        try:
            await self._at_provider(one.payment, one.answer)
        except ProviderAway:
            return
        except NothingToAnswer:
            pass  # Somebody answered by hand, or the shop was quicker and has closed it.
        self._waiting.pop(order_id, None)

    async def _at_provider(self, payment: str, answer: Answer) -> str:
        try:
            got = await self._gateway.post(f"/payments/{payment}/{answer}")
        except httpx.HTTPError as error:
            raise ProviderAway(f"The provider does not answer ({error!r}). Look before it is repeated.") from None
        if got.status_code == DECLINED:
            return "refused"
        if got.is_success:
            state: str = got.json()["state"]
            return state
        if got.status_code == CONFLICT:
            raise NothingToAnswer(f"The provider says: {got.json()['reason']}. Nothing was changed.")
        said = f"The provider says {got.status_code}: {got.text[:SAID_CHARS_MAX]}"
        raise ProviderAway(f"{said}. Look before it is repeated.")

    def _payment_of(self, order_id: str) -> str | None:
        rows = self._read(OF_ORDER, order_id)
        return rows[0][0] if rows else None

    def _pending(self, order_ids: list[str]) -> Mapping[str, str]:
        return dict(self._read(OF_ORDERS, json.dumps(order_ids)) if order_ids else [])

    def _read(self, query: LiteralString, value: str) -> list[Any]:
        if not self._book.exists():
            return []
        connection = sqlite3.connect(f"file:{self._book}?mode=ro", uri=True)
        try:
            return connection.execute(query, (value,)).fetchall()
        finally:
            connection.close()
