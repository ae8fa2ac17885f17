"""What `amends doctor` thinks of a relay; and what a finding is. Pure, like all of `doctor`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from orchestrator import limits

Level = Literal["ok", "warning", "bad"]

RELAY_SILENT_S = 10.0
RELAY_CATCHES_UP_S = 15.0  # a relay that is to follow the stream may poll so long, at its start or after a failure
TROUBLE_TOLD_S = 86_400.0  # what was found wrong with the slot is told for a day: it has been mended, not explained


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. `todo` is empty where all is well."""

    level: Level
    subject: str
    text: str
    todo: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """A relay. `beat_s`: seconds since its last sign of life; None: never. `slot`: what its stream says.

    `trouble`: what was found wrong with its slot or its database last, and how many seconds ago.
    """

    beat_s: float | None = None
    state: str = "never"
    state_s: float = 0.0
    wanted: str = ""
    slot: str = ""
    trouble: tuple[str, float] | None = None


def judge_relay(relay: Relay, rows: int, age_s: float) -> Iterator[Finding]:
    """Findings about it; `rows` wait in its outbox, the oldest for `age_s`."""
    waits = f"; {rows} rows wait, the oldest for {age_s:.0f} s" if rows else ""
    how = f"{relay.state} for {relay.state_s:,.0f} s"
    if relay.beat_s is None or relay.beat_s > RELAY_SILENT_S:
        since = "never ran" if relay.beat_s is None else f"silent for {relay.beat_s:,.0f} s"
        yield Finding("bad", "relay", f"{since}{waits}", "amends relay --database $DATABASE_URL")
    elif age_s > limits.OUTBOX_HEALTHY_S:
        yield Finding("warning", "relay", f"{how}{waits}", "does Kafka answer? read the relay's log")
    elif relay.wanted == "cdc" and relay.state == "polling" and relay.state_s > RELAY_CATCHES_UP_S:
        says = f", and its stream says: {relay.slot}" if relay.slot else ""
        todo = "mend what it says, or stay with it: amends relay switch polling"
        yield Finding("warning", "relay", f"{how}, though cdc is wanted{says}{waits}", todo)
    else:
        yield Finding("ok", "relay", f"{how}{waits}")
    if relay.trouble is not None and relay.trouble[1] < TROUBLE_TOLD_S:
        why, ago_s = relay.trouble
        yield Finding(
            "warning",
            "slot",
            f"{ago_s:,.0f} s ago: {why}",
            "the relay mends its slot by itself; find out who did it, and what else a restore took. Told for a day",
        )
