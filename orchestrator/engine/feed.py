"""Table moved: which sagas each batch moved, written with the batch, and only while somebody watches.

Two threads meet here. The watcher thread looks whether anybody watches, and tells so in this orchestrator's row of
`workers`; the main loop goes over to it between two batches. `feeding_since` is written after that, and taken away
before the main loop leaves off: as long as it stands there and is the same, no batch is missing.

An orchestrator begins as if it were watched, and looks only after it has taken shards: else whoever began to watch just
before that would have to be told that he may have missed something.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any, LiteralString
from uuid import UUID

import psycopg

from orchestrator import limits

INSERT: LiteralString = "INSERT INTO amends.moved (saga_nos) VALUES (%s::bigint[])"

_WATCHED: LiteralString = "SELECT EXISTS (SELECT FROM amends.watchers WHERE until > clock_timestamp())"
_FEEDING: LiteralString = """
    UPDATE amends.workers SET feeding_since = clock_timestamp() WHERE worker = %s AND feeding_since IS NULL
"""
_NOT_FEEDING: LiteralString = """
    UPDATE amends.workers SET feeding_since = NULL WHERE worker = %s AND feeding_since IS NOT NULL
"""
_SWEEP: LiteralString = "DELETE FROM amends.moved WHERE at < clock_timestamp() - make_interval(secs => %s)"
_SWEEP_UNWATCHED: LiteralString = """
    DELETE FROM amends.moved WHERE NOT EXISTS (SELECT FROM amends.watchers WHERE until > clock_timestamp())
"""
_FORGET_WATCHERS: LiteralString = """
    DELETE FROM amends.watchers WHERE until < clock_timestamp() - make_interval(secs => %s)
"""


class Feed:
    """Of one orchestrator. `adopt` and `took_shards` are the main loop's; the rest is the watcher thread's."""

    def __init__(self, worker: UUID, clock: Callable[[], float] = time.monotonic) -> None:
        self._worker, self._clock = worker, clock
        self._wanted = self._adopted = (0, True)  # compared by identity: each decision is another object
        self._is_new = True
        self._said = False
        self._looked_s = self._swept_s = -limits.MOVED_KEPT_S

    @property
    def is_on(self) -> bool:
        """Whether the batches that the main loop writes now tell what they moved."""
        return self._adopted[1]

    def adopt(self) -> None:
        """What the watcher thread has found holds from the next batch on."""
        self._adopted = self._wanted

    def took_shards(self) -> None:
        """The main loop has committed its claims: who began to watch before them is seen by the next look."""
        self._is_new = False

    def begin(self) -> None:
        """A new session of the watcher thread: its row may be another one."""
        self._said = False

    def follow(self, connection: psycopg.Connection[Any]) -> None:
        """Look whether anybody watches, and say so as far as the main loop has gone over to it."""
        now_s = self._clock()
        if now_s - self._looked_s >= limits.HEARTBEAT_S:
            self._looked_s = now_s
            is_new = self._is_new  # before the look
            row = connection.execute(_WATCHED).fetchone()
            is_watched = bool(row and row[0])
            if not is_watched and self._wanted[1] and not is_new:
                self._leave_off(connection)
            elif is_watched and not self._wanted[1]:
                self._wanted = (self._wanted[0] + 1, True)
        if self._wanted[1] and self._adopted is self._wanted:
            self._go_on(connection, now_s)

    def _go_on(self, connection: psycopg.Connection[Any], now_s: float) -> None:
        if not self._said:
            connection.execute(_FEEDING, (self._worker,))
            self._said = True
        if now_s - self._swept_s >= limits.MOVED_KEPT_S / 4:
            self._swept_s = now_s
            connection.execute(_SWEEP, (limits.MOVED_KEPT_S,))

    def _leave_off(self, connection: psycopg.Connection[Any]) -> None:
        """Whoever begins to watch between these two sees that `feeding_since` is another one then."""
        connection.execute(_NOT_FEEDING, (self._worker,))
        self._said = False
        self._wanted = (self._wanted[0] + 1, False)
        connection.execute(_SWEEP_UNWATCHED)
        connection.execute(_FORGET_WATCHERS, (limits.WATCHER_FORGOTTEN_S,))


def insert_params(saga_nos: Iterable[int]) -> tuple[list[int]]:
    """The array for INSERT: each saga once."""
    return ([*dict.fromkeys(saga_nos)],)
