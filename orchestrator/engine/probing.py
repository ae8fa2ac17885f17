"""Who killed the owner before us? (B4) A turn inside a C call can't be interrupted, it takes its process with it.

After an unclean end the new owner notes, for a while, whose turns it is about to run, before it runs them. If it dies
as well, its successor finds the note: the sagas on it run alone from then on, each noted by itself, as one that was
noted before; and a saga that is found so is quarantined. It takes two witnesses, because an owner that is gone may just
have lost its sessions, or was killed from outside, right behind a note of somebody innocent. The note goes with the
commit of those turns, so that such a one is rare. One bad saga costs three processes at most, however
large the batches are.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import psycopg

from orchestrator.engine import fence
from orchestrator.engine.processing import Work

PROBE_S = 10.0  # how long after an unclean claim; a deadly turn is among the first that are read again


@dataclass(slots=True)
class _Watch:
    until_s: float
    suspects: frozenset[str]


class Probing:
    """Per shard: until when to note, and whom to run alone."""

    def __init__(self) -> None:
        self._shards: dict[int, _Watch] = {}
        self.condemned: set[str] = set()

    def claimed(self, hold: fence.Hold) -> None:
        """Look at what the owner before has left."""
        if not hold.unclean:
            return  # Given back; or ours before, and we have only lost a session: no turn has killed us.
        if hold.probing_again:
            self.condemned.update(hold.probing)
        self._shards[hold.shard] = _Watch(time.monotonic() + PROBE_S, frozenset(hold.probing))

    def portions(self, work: list[Work]) -> Iterable[list[Work]]:
        """The work of a cycle, with each item of a suspect by itself. The order of each saga's items is kept."""
        suspects = frozenset[str]().union(*(watch.suspects for watch in self._shards.values()))
        suspects -= self.condemned
        portion: list[Work] = []
        for one in work:
            if one.saga_id in suspects:
                if portion:
                    yield portion
                yield [one]
                portion = []
            else:
                portion.append(one)
        if portion:
            yield portion

    def note(self, connection: psycopg.Connection[Any], holds: dict[int, fence.Hold], portion: list[Work]) -> None:
        """Say whose turns come now, where the owner before us died."""
        now, notes = time.monotonic(), list[tuple[fence.Hold, list[str], bool]]()
        for shard, watch in list(self._shards.items()):
            hold = holds.get(shard)
            if hold is None or now > watch.until_s:
                del self._shards[shard]
                continue
            ids = sorted({one.saga_id for one in portion if one.shard == shard and one.saga_id} - self.condemned)
            again = len(ids) == 1 and ids[0] in watch.suspects
            if ids and (tuple(ids), again) != (hold.probing, hold.probing_again):
                notes.append((hold, ids, again))
        if notes:
            with connection.pipeline():  # one transaction
                for hold, ids, again in notes:
                    fence.set_probing(connection, hold, ids, again=again)
