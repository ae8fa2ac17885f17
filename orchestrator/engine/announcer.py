"""The thread that tells waiting clients which sagas have ended, after the commit that ended them.

On a session of its own that waits for no disk: the main loop has no time for it, and what is lost here is found by the
clients' own looks.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import psycopg

from orchestrator import announcement, limits

log = logging.getLogger("orchestrator.engine.announcer")

RETRY_S = 1.0


class Announcer:
    """`tell` is for the main loop."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self._connect = connect
        self._ended: deque[str] = deque(maxlen=limits.ANNOUNCED_MAX)
        self._bell = threading.Event()
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="amends-announcer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """What was told is announced first, if the database answers."""
        self._stop = True
        self._bell.set()
        self._thread.join(limits.LEASE_S)

    def tell(self, saga_ids: list[str]) -> None:
        """These have ended, and it is committed."""
        if saga_ids:
            self._ended.extend(saga_ids)
            self._bell.set()

    def _run(self) -> None:
        is_away = False
        while not self._stop:
            try:
                with self._connect() as connection:
                    connection.execute("SET synchronous_commit = off")
                    is_away = False
                    self._announce(connection)
            except psycopg.Error as error:
                if not is_away:
                    log.warning("no announcements for a while (%s): clients find out by themselves", str(error).strip())
                is_away = True
                time.sleep(RETRY_S)

    def _announce(self, connection: psycopg.Connection[Any]) -> None:
        while not self._stop or self._ended:
            if not self._ended:  # what a lost session left is not rung for again
                self._bell.wait()
            self._bell.clear()
            ended = list(self._ended)
            for payload in announcement.payloads(ended):
                connection.execute(announcement.NOTIFY, (payload,))
            for _ in ended:
                self._ended.popleft()
