"""Which due timers may enter the batch (rule 9). The others are put off, never dropped.

1. Its shard has been read up to the end offset observed after it fell due: a reply that lies there comes first.
2. The outbox is healthy: while rows lie there for seconds, nobody could have answered them.
3. Its command has left the outbox. One that has not was not sent: patience begins anew, no attempt is burnt.
4. Patience with a call begins when its command had left the outbox, and again at the claim and at the outbox's
   recovery: what happened before left no trace.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg

from orchestrator import limits
from orchestrator.core.decisions import Timer
from orchestrator.engine.departures import Departures
from orchestrator.engine.fence import Hold
from orchestrator.engine.processing import Processing
from orchestrator.engine.wakeups import PUT_OFF_US, DueTimer, Wakeup, Wakeups, patient_due_us
from orchestrator.engine.watermarks import Watermarks
from outbox_relay import table

DUE_MAX = 1_000

_OLDEST: LiteralString = """
    SELECT (extract(epoch FROM "timestamp" AT TIME ZONE 'UTC') * 1000000)::bigint
    FROM amends.outbox ORDER BY seq LIMIT 1
"""


@dataclass(slots=True)
class Patience:
    """Holds due wake-ups until their shard's watermark lets them in."""

    wakeups: Wakeups
    watermarks: Watermarks
    processing: Processing
    ask_ends: Callable[[list[int]], None]
    lead_us: Callable[[], int] = lambda: 0  # how much later our time is than the database's stamps
    _held: dict[int, list[Wakeup]] = field(default_factory=dict)
    _unhealthy_us: int = 0  # the last moment at which rows lay in the outbox for too long
    _departures: Departures = field(default_factory=Departures)

    def due(self, connection: psycopg.Connection[Any], holds: dict[int, Hold], now_us: int) -> list[DueTimer]:
        """Timers to fire now. To be called all the time: an outage of the relay must be noticed while it lasts."""
        if holds and self._departures.is_due(now_us):
            self._healthy(connection, now_us)
        for wakeup in self.wakeups.due(now_us, DUE_MAX):
            self._held.setdefault(wakeup.shard, []).append(wakeup)
        let_in = self._let_in(holds)
        if asking := self.watermarks.to_ask(set(self._held), now_us, holds):
            self.ask_ends(asking)
        if not let_in:
            return []
        if not self._healthy(connection, now_us):
            for wakeup in let_in:
                self._put_off(wakeup, now_us + PUT_OFF_US)
            return []
        self.processing.prepare(connection, let_in)
        unsent = self._unsent(connection, let_in)
        floors_us = {shard: max(hold.claimed_us, self._unhealthy_us) for shard, hold in holds.items()}
        due = [self._earliest(wakeup, floors_us[wakeup.shard], unsent, now_us) for wakeup in let_in]
        return [timer for timer in due if timer is not None]

    def _let_in(self, holds: dict[int, Hold]) -> list[Wakeup]:
        let_in: list[Wakeup] = []
        for shard, held in list(self._held.items()):
            if shard not in holds:
                del self._held[shard]  # Whoever claims it builds its wake-ups from the journal.
                continue
            waiting: list[Wakeup] = []
            for wakeup in held:
                (let_in if self.watermarks.lets_in(shard, wakeup.due_us) else waiting).append(wakeup)
            if waiting:
                self._held[shard] = waiting
            else:
                del self._held[shard]
        return let_in

    def _earliest(self, wakeup: Wakeup, floor_us: int, unsent: frozenset[str], now_us: int) -> DueTimer | None:
        """The saga's timer that is really due first; if none is yet, it is put off until one will be."""
        found: tuple[int, int] | None = None
        for timer in self.processing.timers(wakeup):
            key = self.processing.key(wakeup, timer)
            begins_us = now_us if key in unsent else max(floor_us, self._left_us(timer, now_us))
            due_us = patient_due_us(timer, begins_us)
            found = min(found or (due_us, timer.number), (due_us, timer.number))
        if found is None:
            return None
        if found[0] > now_us or not self.watermarks.lets_in(wakeup.shard, found[0]):
            self._put_off(wakeup, found[0])
            return None
        return DueTimer(wakeup.saga_no, wakeup.saga_id, wakeup.shard, found[1])

    def _left_us(self, timer: Timer, now_us: int) -> int:
        left_us = self._departures.left_us(timer.armed_us)
        return now_us if left_us is None else left_us

    def _put_off(self, wakeup: Wakeup, due_us: int) -> None:
        self.wakeups.set(wakeup.saga_no, wakeup.saga_id, wakeup.shard, due_us)

    def _healthy(self, connection: psycopg.Connection[Any], now_us: int) -> bool:
        row = connection.execute(_OLDEST).fetchone()
        oldest_us = None if row is None else row[0] + self.lead_us()
        self._departures.looked(oldest_us, now_us)
        if oldest_us is None or now_us - oldest_us < limits.OUTBOX_HEALTHY_S * 1e6:
            return True
        self._unhealthy_us = now_us
        return False

    def _unsent(self, connection: psycopg.Connection[Any], let_in: list[Wakeup]) -> frozenset[str]:
        """Operation keys of commands whose patience is measured, but which still lie in the outbox."""
        keys = [
            key for w in let_in for t in self.processing.timers(w) if (key := self.processing.key(w, t)) is not None
        ]
        if not keys:
            return frozenset()
        return frozenset(row[0] for row in connection.execute(table.PENDING_OPERATIONS, (keys,)))
