"""Hear at once that a saga has ended, instead of asking again and again.

A thread with a session of its own LISTENs to what the orchestrators announce (`orchestrator.announcement`) and rings
whoever waits. It begins with the first request that has to wait, and ends when nobody has waited for a while. Nothing
rests on it: who waits also looks by himself, soon and often until the thread is known to hear, seldom from then on.
"""

import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Self

import psycopg

from orchestrator import announcement
from outbox_relay.wake import Wake

log = logging.getLogger("orchestrator.client")

APPLICATION_NAME = "amends client hearing"
LOOK_S = 0.25  # between two looks of his own of somebody who would be rung: announcements may be lost
IDLE_S = 60.0  # nobody waits: the session is given back
RETRY_S = 5.0  # after a session that was refused or lost
ROUND_S = 1.0
# A client that stands still must not keep what all of the server's notifications lie in.
_OPTIONS = "-c tcp_user_timeout=30000"


class Waiter:
    """Somebody who waits for the end of one saga: `look` before each look, `pause_s` after one that found no end."""

    def __init__(self, hearing: "Hearing", saga_id: str, ring: Callable[[], None]) -> None:
        self.ring = ring
        self._hearing, self._token = hearing, announcement.token(saga_id)
        self._looked_under = 0

    def __enter__(self) -> Self:
        self._hearing._enter(self._token, self)
        return self

    def __exit__(self, *_: object) -> None:
        self._hearing._leave(self._token, self)

    def look(self) -> None:
        """Call it before each look: what ends after it is told, if we hear."""
        self._looked_under = self._hearing.session

    def pause_s(self, asked_s: float) -> float:
        """How long to wait for the ring before the next look. `asked_s` is what it is where nobody tells us."""
        session = self._hearing.session
        if session == 0:
            self._hearing.begin()
            return asked_s
        return max(asked_s, LOOK_S) if self._looked_under == session else 0.0


class Hearing:
    """Of one client; safe to share between threads. `session` numbers the one that hears now; 0: nobody does."""

    def __init__(self, database_url: str) -> None:
        self.session = 0
        self._url = database_url
        self._waiters: dict[str, set[Waiter]] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._bell: Wake | None = None
        self._sessions = 0
        self._not_before_s = 0.0

    def waiter(self, saga_id: str, ring: Callable[[], None]) -> Waiter:
        """`ring` is called from another thread when the saga has ended, or when it is time to look for oneself."""
        return Waiter(self, saga_id, ring)

    def begin(self) -> None:
        """Start to hear, unless that is under way or was refused a moment ago."""
        with self._lock:
            running = self._thread is not None and self._thread.is_alive()
            if running or self._stop.is_set() or time.monotonic() < self._not_before_s:
                return
            self._thread = threading.Thread(target=self._run, name="amends-hearing", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the thread and its session. Whoever still waits looks by himself."""
        self._stop.set()
        with self._lock:
            thread, bell = self._thread, self._bell
            if bell is not None:
                bell.ring()
        if thread is not None and thread.is_alive():
            thread.join(ROUND_S)

    def _enter(self, token: str, waiter: Waiter) -> None:
        with self._lock:
            self._waiters.setdefault(token, set()).add(waiter)

    def _leave(self, token: str, waiter: Waiter) -> None:
        with self._lock:
            waiters = self._waiters[token]
            waiters.discard(waiter)
            if not waiters:
                del self._waiters[token]

    # -- its own thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        bell = Wake()
        with self._lock:
            self._bell = bell
        try:
            with psycopg.connect(
                self._url, autocommit=True, application_name=APPLICATION_NAME, options=_OPTIONS
            ) as connection:
                connection.execute(announcement.LISTEN)
                self._hear(connection, bell)
        except psycopg.Error as error:
            log.debug("ends of sagas are looked for, not heard (%s)", str(error).strip())
            self._not_before_s = time.monotonic() + RETRY_S
        finally:
            self.session = 0
            with self._lock:
                self._bell = None
                bell.close()
            self._ring_all()

    def _hear(self, connection: psycopg.Connection[Any], bell: Wake) -> None:
        """Until nobody has waited for a while. Heard is only who hears himself: not so behind some poolers."""
        trial, notes = f"trial-{os.urandom(8).hex()}", deque[str]()
        connection.add_notify_handler(lambda notify: notes.append(notify.payload))  # of what comes with an answer
        connection.execute(announcement.NOTIFY, (trial,))
        waited_s = time.monotonic()
        while not self._stop.is_set():
            _take(connection, notes)
            while notes:
                note = notes.popleft()
                if note == trial:
                    self._sessions += 1
                    self.session = self._sessions
                    self._ring_all()
                else:
                    self._ring(announcement.tokens(note))
            if self._waiters:
                waited_s = time.monotonic()
            elif time.monotonic() - waited_s > IDLE_S:
                return
            select.select([connection.fileno(), bell.fd], [], [], ROUND_S)

    def _ring(self, tokens: list[str]) -> None:
        with self._lock:
            waiters = [waiter for token in tokens for waiter in self._waiters.get(token, ())]
        for waiter in waiters:
            waiter.ring()

    def _ring_all(self) -> None:
        with self._lock:
            waiters = [waiter for some in self._waiters.values() for waiter in some]
        for waiter in waiters:
            waiter.ring()


def _take(connection: psycopg.Connection[Any], notes: deque[str]) -> None:
    """What has come, without waiting. Raises OperationalError when the session has ended."""
    connection.pgconn.consume_input()
    while (note := connection.pgconn.notifies()) is not None:
        notes.append(note.extra.decode())
