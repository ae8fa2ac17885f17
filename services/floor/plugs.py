"""The plugs: processes of the local stack that may be killed, stopped and started from the page.

The floor signals nothing. It asks the keeper, whose children they are (orchestrator.local.control).
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import httpx

from orchestrator.local.control import Control, NotDone
from orchestrator.local.keeper import Seen, State
from services.floor.installation import Installation
from services.floor.limits import KILLED_FOR_S, NOTES_S
from services.floor.problems import Refusal

Action = Literal["kill", "stop", "start"]
Kind = Literal["process", "kafka"]

LABELS: Mapping[str, str] = {
    "orchestrator-1": "Orchestrator 1",
    "orchestrator-2": "Orchestrator 2",
    "orders": "Orders",
    "stock": "Kitchen",
    "payments": "Payments",
    "shipping": "Shipping",
    "webhook": "Webhook",
    "email": "Email",
    "receipts": "Receipts",
    "analytics": "Analytics",
    "relay": "Relay",
    "kafka": "Kafka",
}
"""In the order of the page. Postgres and the gateway are not among them: the first holds the books that are shown, the
second has moods of its own."""

STATES: Mapping[State, str] = {
    "ready": "up",
    "starting": "starting",
    "waiting to restart": "down",
    "stopping": "down",
    "stopped": "down",
}


class NoSuchPlug(Refusal):
    """It can not be pulled from here."""

    status = 404
    name = "no-such-plug"


@dataclass(frozen=True, slots=True)
class Plug:
    """One line of the page."""

    name: str
    label: str
    kind: Kind
    state: str
    since: str
    note: str

    def shown(self) -> Mapping[str, Any]:
        """As the page reads it."""
        return {name: getattr(self, name) for name in ("name", "label", "kind", "state", "since", "note")}


class Plugs:
    """What the keeper and the product say of each."""

    def __init__(self, control: Control, installation: Installation) -> None:
        self._control = control
        self._installation = installation
        self._noted: dict[str, str] = {}
        self._noted_at_s = -NOTES_S
        self._seen: dict[str, Mapping[str, Any]] = {}

    async def look(self) -> dict[str, Mapping[str, Any]]:
        """All plugs, as the keeper last told of them. None if there is no keeper, as in Docker: none can be pulled."""
        try:
            services = await self._control.services()
        except NotDone:
            return self._seen
        notes = await self._notes(services)
        there = {name: services[name] for name in LABELS if name in services}
        self._seen = {name: _plug(seen, notes.get(name, "")).shown() for name, seen in there.items()}
        return self._seen

    async def pull(self, name: str, action: Action) -> None:
        """Raises NoSuchPlug, NotDone."""
        if name not in LABELS:
            raise NoSuchPlug(f"There is no plug {name!r}; there are {', '.join(LABELS)}. Nothing was changed.")
        match action:
            case "kill":
                if name == "kafka":
                    raise NoSuchPlug("Kafka is stopped and started here, never killed. Nothing was changed.")
                await self._control.kill(name, KILLED_FOR_S)
            case "stop":
                await self._control.stop(name)
            case "start":
                await self._control.start(name)

    async def _notes(self, services: Mapping[str, Seen]) -> dict[str, str]:
        """What the product says of those that are up; a note may be missing, a state may not."""
        if time.monotonic() - self._noted_at_s < NOTES_S:
            return self._noted
        self._noted_at_s = time.monotonic()
        try:
            runs, shards = await self._installation.shards_by_pid()
            waiting = await self._installation.outbox_waiting()
        except httpx.HTTPError:
            self._noted = {}
            return self._noted
        notes = {
            name: f"runs {runs[seen.pid]} of {shards} shards"
            for name, seen in services.items()
            if seen.pid is not None and seen.pid in runs
        }
        self._noted = {**notes, "relay": f"{waiting} waiting"}
        return self._noted


def _plug(seen: Seen, note: str) -> Plug:
    since = datetime.fromtimestamp(seen.since_s, UTC).isoformat()
    kind: Kind = "kafka" if seen.name == "kafka" else "process"
    return Plug(seen.name, LABELS[seen.name], kind, STATES[seen.state], since, _note(seen, note))


def _note(seen: Seen, note: str) -> str:
    match seen.state:
        case "ready":
            return note or f"process {seen.pid}"
        case "waiting to restart" if seen.back_at_s is not None:
            back_at = datetime.fromtimestamp(seen.back_at_s, UTC)
            how = "killed" if seen.code == -9 else f"ended with code {seen.code}"
            return f"{how}, starts again at {back_at:%H:%M:%S} UTC"
        case "stopped":
            return "stopped, stays down until it is started"
        case "stopping":
            return "stopping"
        case _:
            return "starting"
