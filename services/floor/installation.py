"""What surrounds the sagas: orchestrators, relay and breakers through the product's API, the gateway through its own.

The API is the mounted one, asked without a network: the floor knows no more of the product than a page could.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from starlette.types import ASGIApp

from services.floor.gateway_book import GatewayBook
from services.floor.limits import ADMIN_TIMEOUT_S

MODES: Mapping[str, str] = {"well": "normal", "slow": "slow", "down": "down", "loses": "loses"}
"""The page's word -> the gateway's."""

BREAKER_OF = "payments"
BREAKER = "gateway"
FAIL_MAX = 5
"""As services.payments declares it: the table of breakers does not say."""


class Installation:
    """`close` it at the end."""

    def __init__(self, api: ASGIApp, gateway_url: str) -> None:
        self._api = httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://localhost")
        self._gateway = httpx.AsyncClient(base_url=gateway_url, timeout=ADMIN_TIMEOUT_S)

    async def close(self) -> None:
        """Close its connections."""
        await self._api.aclose()
        await self._gateway.aclose()

    async def gateway_mode(self) -> str:
        """A gateway that does not answer is down."""
        try:
            answer = await self._gateway.get("/admin/phase")
            phase = answer.raise_for_status().json()["phase"]
        except httpx.HTTPError:
            return "down"
        return next((mode for mode, name in MODES.items() if name == phase), "well")

    async def set_gateway_mode(self, mode: str) -> None:
        """Raises httpx.HTTPError."""
        answer = await self._gateway.post("/admin/phase", json={"phase": MODES[mode]})
        answer.raise_for_status()

    async def breaker(self, book: GatewayBook) -> Mapping[str, Any]:
        """The state is the breaker's own row; the window is the gateway's log, which knows no call that was refused."""
        row = await self._breaker_row()
        is_open = row.get("state") in ("open", "half_open")
        return {
            "name": BREAKER,
            "state": row.get("state", "closed"),
            "window": list(book.window),
            "failed": book.failed_in_a_row,
            "fail_max": FAIL_MAX,
            "opens_at": row.get("opened_at") if is_open else None,
            "half_open_at": row.get("reopens_at") if is_open else None,
        }

    async def shards_by_pid(self) -> tuple[Mapping[int, int], int]:
        """How many shards each orchestrator runs, by its process, and how many there are."""
        workers = (await self._get("/v1/workers"))["workers"]
        shards = (await self._get("/v1/shards"))["shards"]
        pids = {worker["name"]: worker["pid"] for worker in workers}
        runs = {pid: sum(shard["owner"] == name for shard in shards) for name, pid in pids.items()}
        return runs, len(shards)

    async def outbox_waiting(self) -> int:
        """Rows in the orchestrator's outbox that the relay has not sent yet."""
        waiting: int = (await self._get("/v1/outbox"))["waiting"]
        return waiting

    async def _breaker_row(self) -> Mapping[str, Any]:
        services: Sequence[Mapping[str, Any]] = (await self._get("/v1/breakers"))["services"]
        rows = [row for service in services if service["name"] == BREAKER_OF for row in service["breakers"]]
        return next((row for row in rows if row["name"] == BREAKER), {})

    async def _get(self, path: str) -> dict[str, Any]:
        """Raises httpx.HTTPError."""
        answer = await self._api.get(path)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found
