"""A thread that asks one database how it is, over a session of its own, whether anybody scrapes or not.

Each PING_S it sees whether Postgres answers; figures are read at most every FIGURES_EVERY_S, and at most a
FIGURES_SHARE_MAX of the time, however long they take. What they said last lies ready for whoever asks.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, LiteralString, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict

log = logging.getLogger("orchestrator.monitoring")

PING_S = 2.0
FIGURES_EVERY_S = 5.0
FIGURES_SHARE_MAX = 0.02  # 100,000 open sagas are counted in some 30 ms, or in 0.2 s before a vacuum has been there
STATEMENT_TIMEOUT_S = 2.0
SILENT_S = 10.0  # Postgres counts as not answering: a ping and a look at its limits, of four statements, fit in
CONNECT_TIMEOUT_S = 5
_OPTIONS = f"-c statement_timeout={STATEMENT_TIMEOUT_S:g}s -c lock_timeout=1s -c idle_in_transaction_session_timeout=5s"
_PING: LiteralString = "SELECT 1"

F = TypeVar("F")


class DatabaseWatch(Generic[F]):
    """`figures` (None: not known now), `answered_s` (monotonic) and `failures` may be read from any thread."""

    def __init__(self, url: str, read: Callable[[psycopg.Connection[Any]], F]) -> None:
        self.database = str(conninfo_to_dict(url).get("dbname") or "?")
        self.figures: F | None = None
        self.answered_s = 0.0
        self.failures = 0
        self._url, self._read = url, read
        self._due_s = 0.0
        self._said = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"amends-figures-{self.database}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Does not wait: a Postgres that is frozen would keep the process from ending."""
        self._stop.set()

    def answers(self, now_s: float) -> bool:
        """Whether Postgres has answered lately."""
        return now_s - self.answered_s <= SILENT_S

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with psycopg.connect(
                    self._url,
                    autocommit=True,
                    application_name="amends-figures",
                    connect_timeout=CONNECT_TIMEOUT_S,
                    options=_OPTIONS,
                    keepalives_idle=5,
                    keepalives_interval=2,
                    keepalives_count=3,
                ) as connection:
                    self._watch(connection)
            except psycopg.Error as error:
                self.figures = None
                self._failed(error)
                self._stop.wait(PING_S)

    def _watch(self, connection: psycopg.Connection[Any]) -> None:
        while not self._stop.is_set():
            connection.execute(_PING)
            self.answered_s = time.monotonic()
            if self.answered_s >= self._due_s:
                self._look(connection)
            self._stop.wait(PING_S)

    def _look(self, connection: psycopg.Connection[Any]) -> None:
        began_s = time.monotonic()
        try:
            self.figures = self._read(connection)
            self._said = ""
        except psycopg.errors.QueryCanceled as late:
            self.figures = None
            self._failed(late)
        self.answered_s = time.monotonic()
        self._due_s = self.answered_s + max(FIGURES_EVERY_S, (self.answered_s - began_s) / FIGURES_SHARE_MAX)

    def _failed(self, error: psycopg.Error) -> None:
        """Said once for each reason: the main work says the rest."""
        self.failures += 1
        text = " ".join(str(error).split())
        if text != self._said:
            log.warning("no figures of database %s: %s", self.database, text)
            self._said = text
