"""What a client has learnt of a database and need not ask again, and of its own connections.

Each question costs a round trip; a start would have four where it needs one.
"""

import select
import time
from collections.abc import MutableMapping
from typing import Any
from weakref import WeakKeyDictionary

import psycopg

from orchestrator.client.statements import Query

Rows = list[tuple[Any, ...]]
Answers = MutableMapping[str, Rows]

TRUSTED_S = 1.0  # so long after it was looked at, a connection of the pool is taken to be alive


class Known:
    """Answers to lasting questions, by database: the client's own, and that of each connection that it was given."""

    def __init__(self) -> None:
        self._own: dict[str, Rows] = {}
        self._given: WeakKeyDictionary[object, dict[str, Rows]] = WeakKeyDictionary()

    def of(self, connection: object = None) -> Answers:
        """None: of the client's own database. A SQLAlchemy session may be bound anew, so nothing of it lasts."""
        if connection is None:
            return self._own
        if isinstance(connection, psycopg.Connection | psycopg.AsyncConnection):
            return self._given.setdefault(connection, {})
        return {}


def keep(answers: Answers, asked: Query, rows: Rows) -> None:
    """A yes lasts; a no may be one only until `amends migrate` has run."""
    if asked.lasting and rows and rows[0][0]:
        answers[asked.sql] = rows


class Looked:
    """When each connection of a pool was last found alive."""

    def __init__(self) -> None:
        self._at_s: WeakKeyDictionary[object, float] = WeakKeyDictionary()

    def is_due(self, connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
        """Whether to ask the server before it is used; the caller does."""
        now_s = time.monotonic()
        if now_s - self._at_s.get(connection, float("-inf")) < TRUSTED_S and not _was_told(connection):
            return False
        self._at_s[connection] = now_s
        return True


def _was_told(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    """Whether something lies in its socket: nobody has asked, so the server has ended the session."""
    looking = select.poll()
    looking.register(connection.fileno(), select.POLLIN)
    return bool(looking.poll(0))
