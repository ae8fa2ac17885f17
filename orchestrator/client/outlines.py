"""What a list draws of a saga: its row, its operations, who took it over. Many at once, and again whenever they move.

A saga's journal is read once; of what was read its story is kept, and after a move only the turns behind it are read.
"""

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString

from orchestrator.client.answers import SagaRow
from orchestrator.client.facts import OWNERS_MAX, Owner
from orchestrator.client.reading import saga_row
from orchestrator.client.requests import Steps
from orchestrator.client.statements import Query
from orchestrator.story import Story
from orchestrator.story.reading import advance

STORIES_MAX = 5_000  # kept: some 10 KB each
AT_ONCE_MAX = 200  # sagas of one request

_SELECT: LiteralString = """
    SELECT saga_no, id, type, version, status, shard, started_at, ended_at, problem, parent_id, CAST(uid AS text)
    FROM amends.sagas
    WHERE saga_no = ANY (CAST(%(saga_nos)s AS bigint[])) OR id = ANY (CAST(%(ids)s AS text[]))
    ORDER BY saga_no DESC
"""
_SELECT_TURNS: LiteralString = """
    SELECT j.saga_no, j.pos, j.wake_us, j.body
    FROM unnest(CAST(%(saga_nos)s AS bigint[]), CAST(%(from_pos)s AS int[])) AS w(saga_no, from_pos)
    JOIN amends.journal j ON j.saga_no = w.saga_no AND j.pos >= w.from_pos
    ORDER BY j.saga_no, j.pos
"""
# Each shard's latest, as far back as the oldest of the sagas goes.
_SELECT_OWNERS: LiteralString = """
    SELECT w.shard, CAST(extract(epoch FROM t.at) * 1000000 AS bigint), t.epoch, t.name
    FROM unnest(CAST(%(shards)s AS int[]), CAST(%(since)s AS timestamptz[])) AS w(shard, since)
    CROSS JOIN LATERAL (
        SELECT at, epoch, name
        FROM amends.takeovers
        WHERE shard = w.shard AND at >= w.since
        ORDER BY at DESC
        LIMIT CAST(%(rows_max)s AS int)
    ) AS t
    ORDER BY t.at
"""


@dataclass(slots=True)
class _Known:
    """A journal as far as it was read. `uid` tells a saga from one that has its number in a restored database."""

    uid: str
    story: Story = field(default_factory=Story)
    next_pos: int = 0
    wake_us: int | None = None


@dataclass(frozen=True, slots=True)
class Outlined:
    """Do not keep `story`: it goes on with the next look."""

    saga_no: int
    saga: SagaRow
    parent_id: str | None
    story: Story
    wake_us: int | None
    owners: tuple[Owner, ...]


class Outlines:
    """Of one client, on its loop; each look for `read_at_once`."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, _Known] = OrderedDict()

    def read(self, *, saga_nos: Sequence[int] = (), ids: Sequence[str] = ()) -> Steps[list[Outlined]]:
        """Those that there are, the newest first; AT_ONCE_MAX at most."""
        assert len(saga_nos) + len(ids) <= AT_ONCE_MAX, "more than one request should read"
        rows = yield Query(_SELECT, {"saga_nos": [*saga_nos], "ids": [*ids]})
        if not rows:
            return []
        known = {row[0]: self._known_of(row[0], row[10]) for row in rows}
        params = {"saga_nos": [*known], "from_pos": [one.next_pos for one in known.values()]}
        for saga_no, pos, wake_us, body in (yield Query(_SELECT_TURNS, params)):
            one = known[saga_no]
            if pos == one.next_pos:  # not so if another look went on with it meanwhile
                advance(one.story, json.loads(body))
                one.next_pos, one.wake_us = pos + 1, wake_us
        owners = yield from _owners(rows)
        self._forget()
        return [_outlined(row, known[row[0]], owners[row[5]]) for row in rows]

    def forget(self) -> None:
        """What was read may not be so any more: the database was restored."""
        self._known.clear()

    def _known_of(self, saga_no: int, uid: str) -> _Known:
        found = self._known.get(saga_no)
        if found is None or found.uid != uid:
            found = self._known[saga_no] = _Known(uid)
        self._known.move_to_end(saga_no)
        return found

    def _forget(self) -> None:
        while len(self._known) > STORIES_MAX:
            self._known.popitem(last=False)


def _owners(rows: Sequence[Sequence[Any]]) -> Steps[dict[int, list[Owner]]]:
    since: dict[int, Any] = {}
    for row in rows:
        since[row[5]] = min(row[6], since.get(row[5], row[6]))
    params = {"shards": [*since], "since": [*since.values()], "rows_max": OWNERS_MAX}
    owners: dict[int, list[Owner]] = {shard: [] for shard in since}
    for shard, at_us, epoch, name in (yield Query(_SELECT_OWNERS, params)):
        owners[shard].append(Owner(int(at_us), int(epoch), str(name)))
    return owners


def _outlined(row: Sequence[Any], known: _Known, owners: Sequence[Owner]) -> Outlined:
    saga = saga_row(row)
    ended_us = None if saga.ended_at is None else int(saga.ended_at.timestamp() * 1e6)
    mine = tuple(one for one in owners if ended_us is None or one.at_us <= ended_us)
    return Outlined(int(row[0]), saga, row[9], known.story, known.wake_us, mine)
