"""Tells the shop what became of its payments: signed, at least once, in any order, until it has said that it heard.

The signature is Stripe's scheme: HMAC-SHA256 over the time and the body, under a secret that only both sides know. Each
attempt is signed anew, so that an honest retry is never too old for the other side.
"""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from services.gateway.payments import Owed, Payments
from services.gateway.script import PACES, Phase

SIGNATURE_HEADER = "Gateway-Signature"
ANSWER_TIMEOUT_S = 5.0
OUT_AT_ONCE = 16
LOOK_S = 0.1
AGAIN_FIRST_S, AGAIN_FACTOR, AGAIN_MAX_S = 0.5, 2.0, 10.0
GIVE_UP_S = 3 * 24 * 3600.0
EXPONENT_MAX = 16  # far beyond AGAIN_MAX_S, and far from an overflow


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the shop listens, and the secret that it was given."""

    url: str
    secret: str


def signed(secret: str, body: bytes, at_s: int) -> str:
    """The header's value: `t=…,v1=…`."""
    digest = hmac.new(secret.encode(), b"%d.%b" % (at_s, body), hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest}"


def again_in_s(attempts: int) -> float:
    """How long after so many attempts the next one is due."""
    return min(AGAIN_FIRST_S * AGAIN_FACTOR ** min(attempts, EXPONENT_MAX), AGAIN_MAX_S)


class Webhooks:
    """Sends what the book owes. What it had under way when it died is still owed."""

    def __init__(self, payments: Payments, endpoint: Endpoint, phase: Callable[[], Phase]) -> None:
        self._payments = payments
        self._endpoint = endpoint
        self._phase = phase
        self._out: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until cancelled."""
        async with httpx.AsyncClient(timeout=ANSWER_TIMEOUT_S) as client, asyncio.TaskGroup() as tasks:
            while True:
                if self._phase() != "down":
                    for owed in self._payments.due(OUT_AT_ONCE):
                        if owed.event_id not in self._out and len(self._out) < OUT_AT_ONCE:
                            self._out[owed.event_id] = tasks.create_task(self._send(client, owed))
                await asyncio.sleep(LOOK_S)

    async def _send(self, client: httpx.AsyncClient, owed: Owed) -> None:
        try:
            phase = self._phase()
            if phase == "slow":
                await asyncio.sleep(PACES[phase].of(owed.event_id))
            answer = await self._post(client, owed)
            # Losing answers, it can't know that it was heard, and says it a second time.
            if answer.startswith("2") and not (phase == "loses" and owed.attempts == 0):
                self._payments.heard(owed.event_id, answer)
            elif time.time() - owed.at_s > GIVE_UP_S:
                self._payments.send_again(owed.event_id, None, answer)
            else:
                self._payments.send_again(owed.event_id, time.time() + again_in_s(owed.attempts), answer)
        finally:
            del self._out[owed.event_id]

    async def _post(self, client: httpx.AsyncClient, owed: Owed) -> str:
        body = owed.body.encode()
        headers = {SIGNATURE_HEADER: signed(self._endpoint.secret, body, int(time.time()))}
        headers["Content-Type"] = "application/json"
        try:
            return str((await client.post(self._endpoint.url, content=body, headers=headers)).status_code)
        except httpx.HTTPError as error:
            return repr(error)[:200]
