"""Who watches, and what a look at `moved` tells him: the requests, and the pure part of following.

A watcher writes a row for itself and renews it. Every orchestrator then writes down, in each of its transactions, which
sagas it moved, and says so in its row of `workers` (orchestrator.engine.feed). From the moment when all of them do, no
move is missed: rows are followed by the numbers of their transactions. What has a lower number than any transaction
that is still under way can't come any more; what has a higher one is read again, and known by its number.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import LiteralString

from orchestrator import limits
from orchestrator.client.answers import ShardTaken, TookOver
from orchestrator.client.requests import Steps
from orchestrator.client.statements import Query
from orchestrator.errors import RequestError

ROWS_MAX = 20_000  # of one look: a batch has one row; all that came since the oldest transaction that is still open
TAKEOVERS_MAX = 1_000
TAKEOVER_LATE_S = 10.0  # a claim is visible so much later than its time at most

_CURSOR = re.compile(r"([0-9]{1,19})-([0-9]{1,17})")

_REGISTER: LiteralString = """
    INSERT INTO amends.watchers (watcher, until)
    VALUES (CAST(%(watcher)s AS uuid), clock_timestamp() + make_interval(secs => CAST(%(fresh_s)s AS float8)))
    RETURNING opened_at
"""
# Only while it is fresh: what nobody watched meanwhile was not written down.
_RENEW: LiteralString = """
    UPDATE amends.watchers
    SET until = clock_timestamp() + make_interval(secs => CAST(%(fresh_s)s AS float8)),
        whole_from = CAST(CAST(%(whole_from)s AS text) AS xid8)
    WHERE watcher = CAST(%(watcher)s AS uuid) AND until > clock_timestamp()
    RETURNING opened_at
"""
_NOW: LiteralString = """
    SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint),
        CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)
"""
_IS_REGISTERED: LiteralString = """
    SELECT EXISTS (
        SELECT FROM amends.watchers
        WHERE watcher = CAST(%(watcher)s AS uuid) AND until > clock_timestamp())
"""
# Orchestrators that own a shard and live, and did not begin long after us: those know of us from their first batch on.
_FEEDERS: LiteralString = """
    SELECT CAST(w.worker AS text), w.feeding_since
    FROM amends.workers w
    WHERE w.feeding_since IS NOT NULL
        OR (w.started_at < CAST(%(opened_at)s AS timestamptz) + make_interval(secs => CAST(%(lease_s)s AS float8))
            AND w.beat_at > clock_timestamp() - make_interval(secs => CAST(%(lease_s)s AS float8) * 2)
            AND EXISTS (SELECT FROM amends.shards s WHERE s.worker = w.worker AND s.owner IS NOT NULL))
"""
_MOVED: LiteralString = """
    SELECT CAST(CAST(xid AS text) AS bigint), saga_nos
    FROM amends.moved
    WHERE xid >= CAST(CAST(%(from_xid)s AS text) AS xid8)
    ORDER BY xid
    LIMIT CAST(%(rows_max)s AS int)
"""
# And who had it before, if anybody had.
_TAKEOVERS: LiteralString = """
    SELECT t.shard, t.epoch, t.name, t.at,
        (SELECT b.name FROM amends.takeovers b
        WHERE b.shard = t.shard AND b.at < t.at ORDER BY b.epoch DESC, b.at DESC LIMIT 1)
    FROM amends.takeovers t
    WHERE t.at >= to_timestamp(CAST(%(since_s)s AS float8))
    ORDER BY t.at
    LIMIT CAST(%(rows_max)s AS int)
"""
# Somebody has known of everything since then, without a break, and it is still there.
_IS_WHOLE_SINCE: LiteralString = """
    SELECT EXISTS (
        SELECT FROM amends.watchers
        WHERE until > clock_timestamp() AND whole_from <= CAST(CAST(%(from_xid)s AS text) AS xid8))
"""


Taken = tuple[int, int, str, datetime, str | None]
"""Shard, epoch, who took it, when, who had it before."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in what moved: everything before transaction `xid` was told, by the database's clock at `at_us`."""

    xid: int
    at_us: int

    def __str__(self) -> str:
        return f"{self.xid}-{self.at_us}"


@dataclass(frozen=True, slots=True)
class Look:
    """All of it at one instant. `feeders`: orchestrators that own shards -> since when they tell; None: not yet."""

    xmin: int
    now_us: int
    is_registered: bool
    feeders: dict[str, datetime | None]
    moved: tuple[tuple[int, tuple[int, ...]], ...]
    takeovers: tuple[Taken, ...]


@dataclass(frozen=True, slots=True)
class News:
    """What a look added. `missed`: why something may have been; `opened`: from here on nothing is."""

    opened: bool = False
    missed: str = ""
    saga_nos: tuple[int, ...] = ()
    takeovers: tuple[TookOver, ...] = ()

    @property
    def is_empty(self) -> bool:
        return self == News()


def parse_cursor(text: str) -> Cursor:
    """Raises RequestError."""
    found = _CURSOR.fullmatch(text)
    if found is None:
        raise RequestError(f"{text[:40]!r} is no cursor of what moved: take it as it was given, or none")
    return Cursor(int(found[1]), int(found[2]))


def register(watcher: str) -> Steps[datetime]:
    """Begin to watch. When that was, by the database's clock."""
    rows = yield Query(_REGISTER, {"watcher": watcher, "fresh_s": limits.WATCHER_FRESH_S})
    opened_at: datetime = rows[0][0]
    return opened_at


def renew(watcher: str, whole_from: int | None) -> Steps[bool]:
    """Go on. False: it was too late, orchestrators may have left off."""
    text = None if whole_from is None else str(whole_from)
    rows = yield Query(_RENEW, {"watcher": watcher, "fresh_s": limits.WATCHER_FRESH_S, "whole_from": text})
    return bool(rows)


def look(watcher: str, opened_at: datetime, from_xid: int, since_us: int) -> Steps[Look]:
    """For `read_at_once`: the numbers of transactions mean nothing beside another snapshot."""
    now = yield Query(_NOW)
    registered = yield Query(_IS_REGISTERED, {"watcher": watcher})
    feeders = yield Query(_FEEDERS, {"opened_at": opened_at, "lease_s": limits.LEASE_S})
    moved = yield Query(_MOVED, {"from_xid": str(from_xid), "rows_max": ROWS_MAX})
    takeovers = yield from _takeovers(since_us)
    return Look(
        xmin=now[0][0],
        now_us=now[0][1],
        is_registered=bool(registered[0][0]),
        feeders=dict(feeders),
        moved=tuple((int(xid), tuple(saga_nos)) for xid, saga_nos in moved),
        takeovers=takeovers,
    )


def since(cursor: Cursor) -> Steps[News | None]:
    """What there was since then; None: that is not known any more. For `read_at_once`."""
    now = yield Query(_NOW)
    xmin, now_us = now[0]
    whole = yield Query(_IS_WHOLE_SINCE, {"from_xid": str(cursor.xid)})
    kept_us = (limits.MOVED_KEPT_S - limits.WATCHER_FRESH_S) * 1e6
    if not whole[0][0] or cursor.xid > xmin or now_us - cursor.at_us > kept_us:
        return None
    moved = yield Query(_MOVED, {"from_xid": str(cursor.xid), "rows_max": ROWS_MAX})
    if len(moved) == ROWS_MAX:
        return None  # more than a list, which is read anew for less
    takeovers = yield from _takeovers(cursor.at_us)
    saga_nos = dict.fromkeys(saga_no for _, some in moved for saga_no in some)
    return News(saga_nos=tuple(saga_nos), takeovers=_by_worker(takeovers))


def _takeovers(since_us: int) -> Steps[tuple[Taken, ...]]:
    params = {"since_s": since_us / 1e6 - TAKEOVER_LATE_S, "rows_max": TAKEOVERS_MAX}
    rows = yield Query(_TAKEOVERS, params)
    return tuple(rows)


@dataclass(slots=True)
class Follower:
    """Tells from look to look what is new. Pure; one for each registration."""

    at_us: int
    from_xid: int = 0
    is_whole: bool = False
    whole_from: int | None = None
    _told: set[int] = field(default_factory=set)  # numbers of transactions at or behind from_xid that were told
    _feeders: dict[str, datetime | None] = field(default_factory=dict)
    _taken: set[Taken] = field(default_factory=set)

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.from_xid, self.at_us)

    def note(self, seen: Look) -> News:
        """What this look adds to those before."""
        missed = self._broken(seen) if self.is_whole else ""
        if missed:
            self.is_whole, self.whole_from = False, None
        self._feeders |= seen.feeders
        takeovers = self._takeovers(seen)
        if not self.is_whole:
            opened = seen.is_registered and all(since is not None for since in seen.feeders.values())
            if opened:
                self._begin(seen)
            return News(opened, missed)
        return News(saga_nos=self._moved(seen), takeovers=takeovers)

    def _broken(self, seen: Look) -> str:
        """Why the looks before and this one may not join."""
        if not seen.is_registered:
            return "the database was not reached in time, so orchestrators left off telling"
        if seen.xmin < self.from_xid:
            return "the database was restored to an earlier state"
        if len(seen.moved) >= ROWS_MAX:
            return f"more than {ROWS_MAX:,} batches behind a transaction that is open"
        for worker, since in seen.feeders.items():
            if since is None or self._feeders.get(worker, since) not in (None, since):
                return "an orchestrator had left off telling what moved"
        return ""

    def _begin(self, seen: Look) -> None:
        self.is_whole, self.whole_from = True, seen.xmin
        self.from_xid, self.at_us = seen.xmin, seen.now_us
        self._told = {xid for xid, _ in seen.moved if xid >= seen.xmin}
        self._feeders = dict(seen.feeders)

    def _moved(self, seen: Look) -> tuple[int, ...]:
        new = [(xid, saga_nos) for xid, saga_nos in seen.moved if xid >= self.from_xid and xid not in self._told]
        self.from_xid, self.at_us = seen.xmin, seen.now_us
        self._told = {xid for xid, _ in seen.moved if xid >= self.from_xid}
        return tuple(dict.fromkeys(saga_no for _, saga_nos in new for saga_no in saga_nos))

    def _takeovers(self, seen: Look) -> tuple[TookOver, ...]:
        new = [row for row in seen.takeovers if row not in self._taken]
        self._taken = set(seen.takeovers)
        return _by_worker(new)


def _by_worker(rows: Iterable[Taken]) -> tuple[TookOver, ...]:
    """One for each worker that took shards which somebody had before."""
    taken: dict[str, list[Taken]] = {}
    for row in rows:
        if row[4] is not None:
            taken.setdefault(row[2], []).append(row)
    return tuple(
        TookOver(
            worker=worker,
            at=min(at for _, _, _, at, _ in shards),
            shards=tuple(ShardTaken(shard, epoch, before or "") for shard, epoch, _, _, before in shards),
        )
        for worker, shards in taken.items()
    )
