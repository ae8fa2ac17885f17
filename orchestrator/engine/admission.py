"""How many sagas of a shard are at work at once (rule 14): whoever comes beyond that stays `queued`.

`queued` says one thing: the first turn has not run. Whether a start is still on its way or found no room makes no
difference to its row, so nothing has to be remembered: whoever claims the shard counts, and begins the oldest when
there is room. Where there is room at the claim already, those who are queued are mostly on their way: they are looked
at when the shard has been read up to where it ended. A start that comes after its saga was begun counts for nothing.

Sagas that wait for a person (stuck, blocked) take no room. Children take it, but are never refused: their parents are
at work already and would wait for them for ever.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg

from orchestrator import limits

AT_WORK = frozenset({"running", "compensating"})

_COUNT: LiteralString = """
    SELECT shard, count(*) FILTER (WHERE status IN ('running', 'compensating')),
        count(*) FILTER (WHERE status = 'queued')
    FROM amends.sagas
    WHERE shard = ANY (%s) AND ended_at IS NULL
    GROUP BY shard
"""
_OLDEST: LiteralString = """
    SELECT saga_no, id FROM amends.sagas
    WHERE shard = %s AND ended_at IS NULL AND status = 'queued' AND saga_no > %s
    ORDER BY saga_no LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A queued saga for which there is room now."""

    saga_no: int
    saga_id: str
    shard: int


@dataclass(slots=True)
class _Shard:
    at_work: int = 0
    waiting: bool = False  # somebody may be queued for room
    after: int = 0  # the numbers of all who are queued for room are above this
    look_us: int | None = None  # when all has been read that was there at this time, look who is queued


class Admission:
    """Pure counting, but for one look at each claim, and one whenever there is room for those who wait."""

    def __init__(self, at_work_max: int = limits.SAGAS_AT_WORK_MAX) -> None:
        self._at_work_max = at_work_max
        self._shards: dict[int, _Shard] = {}

    def claimed(self, connection: psycopg.Connection[Any], claimed_us: Mapping[int, int]) -> None:
        """Count those at work in shards that have just become ours: when, by shard."""
        found = {row[0]: row[1:] for row in connection.execute(_COUNT, (list(claimed_us),))}
        for shard, at_us in claimed_us.items():
            at_work, queued = found.get(shard, (0, 0))
            is_full = at_work >= self._at_work_max
            self._shards[shard] = _Shard(
                at_work=at_work, waiting=queued > 0 and is_full, look_us=at_us if queued and not is_full else None
            )

    def admits(self, shard: int, begun: int) -> bool:
        """Whether a new start may begin, after `begun` more of this batch. Not before those who wait already."""
        return not self._of(shard).waiting and self.has_room(shard, begun)

    def has_room(self, shard: int, begun: int) -> bool:
        """Whether one more may be at work, after `begun` more of this batch."""
        return self._of(shard).at_work + begun < self._at_work_max

    def turned_away(self, shard: int, saga_no: int) -> None:
        """This one stays queued until there is room."""
        state = self._of(shard)
        state.waiting = True
        # A long transaction shows its row late, under a number that was given out long ago.
        state.after = min(state.after, saga_no - 1)

    def committed(self, shard: int, change: int) -> None:
        """So many more (or fewer) are at work, with a batch that is committed."""
        self._of(shard).at_work += change

    def next(
        self, connection: psycopg.Connection[Any], shards: Iterable[int], was_read: Callable[[int, int], bool]
    ) -> list[Admitted]:
        """Those for whom there is room now, the oldest of each shard first. `was_read(shard, time)`: all that the shard
        held at that time has been taken into batches.
        """
        admitted: list[Admitted] = []
        for shard in shards:
            state = self._of(shard)
            if state.look_us is not None and was_read(shard, state.look_us):
                state.look_us, state.waiting = None, True
            if not state.waiting or not self.has_room(shard, 0):
                continue
            asked = min(self._at_work_max - state.at_work, limits.ADMITTED_AT_ONCE_MAX)
            found = connection.execute(_OLDEST, (shard, state.after, asked)).fetchall()
            state.waiting = len(found) == asked
            if found:
                state.after = found[-1][0]
            admitted += [Admitted(saga_no, saga_id, shard) for saga_no, saga_id in found]
        return admitted

    def _of(self, shard: int) -> _Shard:
        return self._shards.setdefault(shard, _Shard())
