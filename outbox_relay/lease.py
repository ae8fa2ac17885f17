"""Table amends.relay_lease: one sender a database, whatever its mode.

The advisory lock of the holder's session decides. A killed process has no queue any more: all its sessions end with
it, and it is replaced at once. But one session may end while its process lives, and so may all of them when Postgres is
restarted; and a stopped process keeps them all. Then the others wait until its beat has stood still for the lease, end
what sessions it has, and take the lock. Time is each process's own monotonic clock. The holder counts from before its
beat was written, the others from after they read it: so the holder's time is over first. A message lives shorter than
the lease, and nothing is given to the producer in the lease's last part: what a stopped holder had in its queue is dead
when it wakes up.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, LiteralString, TypeAlias
from uuid import uuid4

import psycopg

from outbox_relay import slot
from outbox_relay.failpoints import failpoint
from outbox_relay.limits import (
    BEAT_S,
    BEATS_LOST_MAX,
    LEASE_S,
    PROMPT_ANSWER_S,
    RESTART_MAX_S,
    SEND_WINDOW_S,
    STANDBY_LOOK_S,
)
from outbox_relay.postgres import Session, connect

log = logging.getLogger("outbox_relay")

# Advisory locks are per database; these two numbers are "amends" and "relay" in spirit only.
TRY_LOCK: LiteralString = "SELECT pg_try_advisory_lock(1634559342, 1)"
# May its process live? A session of it is there still, or they all ended because Postgres was restarted. When a session
# of somebody else's login began is hidden from us: as long as its pid is there, so may its process be.
READ: LiteralString = """
    SELECT epoch, beat, name, holder::text, l.beat_at < pg_postmaster_start_time() OR EXISTS (
        SELECT FROM jsonb_to_recordset(l.backends) AS b(pid int, start text)
        JOIN pg_stat_activity a ON a.pid = b.pid
            AND (extract(epoch FROM a.backend_start)::text = b.start OR a.backend_start IS NULL)
    )
    FROM amends.relay_lease l
"""
TAKE: LiteralString = """
    UPDATE amends.relay_lease
    SET epoch = epoch + 1, holder = %s, name = %s, beat = beat + 1, state = 'starting', health = '{}', backends = '[]',
        taken_at = now(), beat_at = now(), state_at = now()
    WHERE epoch = %s
    RETURNING epoch, beat, wanted_mode
"""
BEAT: LiteralString = """
    UPDATE amends.relay_lease
    SET beat = beat + 1, beat_at = now(), state = %(state)s, health = %(health)s::jsonb,
        backends = %(backends)s::jsonb, state_at = CASE WHEN state = %(state)s THEN state_at ELSE now() END
    WHERE epoch = %(epoch)s AND holder = %(holder)s
    RETURNING beat, wanted_mode
"""
GIVE_BACK: LiteralString = """
    UPDATE amends.relay_lease
    SET holder = NULL, state = 'stopped', backends = '[]', beat = beat + 1, beat_at = now(), state_at = now()
    WHERE epoch = %s AND holder = %s
"""
# Our own session is never among them: it does not hold the lock. A pid may have been given to somebody else since.
END_SESSIONS: LiteralString = """
    SELECT pg_terminate_backend(a.pid)
    FROM amends.relay_lease l
    CROSS JOIN LATERAL jsonb_to_recordset(l.backends) AS b(pid int, start text)
    JOIN pg_stat_activity a ON a.pid = b.pid AND extract(epoch FROM a.backend_start)::text = b.start
    UNION ALL
    SELECT pg_terminate_backend(k.pid) FROM pg_locks k
    WHERE k.locktype = 'advisory' AND k.granted AND k.classid = 1634559342 AND k.objid = 1
      AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
OWN_BACKEND: LiteralString = """
    SELECT pid, extract(epoch FROM backend_start)::text FROM pg_stat_activity WHERE pid = pg_backend_pid()
"""

# Written by people, read by the holder with its next beat, and by whoever takes the lease next.
SWITCH: LiteralString = """
    UPDATE amends.relay_lease
    SET wanted_mode = %(mode)s, wanted_at = CASE WHEN %(mode)s::text IS NOT NULL THEN now() END
    WHERE NOT (state = 'external' AND holder IS NOT NULL)
    RETURNING holder IS NOT NULL
"""
STATUS: LiteralString = """
    SELECT CASE WHEN holder IS NOT NULL THEN name END, epoch, state, state_at, wanted_mode, wanted_at,
        extract(epoch FROM clock_timestamp() - beat_at)::float8, health
    FROM amends.relay_lease
"""

# What a database can be switched to; `external` is no mode of ours to send in.
Switched: TypeAlias = Literal["cdc", "polling"]


@dataclass(frozen=True, slots=True)
class Status:
    """How a database's relay is. `wanted` None: nobody has switched. `beat_s`: seconds since its last beat."""

    holder: str | None
    epoch: int
    state: str
    state_at: datetime | None
    wanted: Switched | None
    wanted_at: datetime | None
    beat_s: float | None
    health: Mapping[str, Any]


def switch(session: Session, mode: Switched | None) -> bool | None:
    """Want this mode of the database's relay, whoever it is; None: each does again what it was started with.

    True: one is at work and will obey within a beat; False: none is, the next will. None: refused, nothing was changed,
    because the relay is in mode `external` and somebody else sends.
    """
    found = session.execute(SWITCH, {"mode": mode}).fetchone()
    return None if found is None else bool(found[0])


def status(session: Session) -> Status:
    """How the database's relay is."""
    return Status(*session.execute(STATUS).fetchall()[0])


@dataclass(slots=True)
class Watch:
    """What a standby has seen of the holder. Only a database that answers promptly all the while expires anybody."""

    beat: tuple[int, int] | None = None
    since: float = 0.0
    answered: float = 0.0

    def expired(self, beat: tuple[int, int], asked: float, now: float) -> bool:
        """Take in (epoch, beat) as read between `asked` and `now`; tell whether it has stood still for the lease."""
        prompt = now - asked <= PROMPT_ANSWER_S and asked - self.answered <= PROMPT_ANSWER_S
        if beat != self.beat or not prompt:
            self.beat, self.since = beat, now
        self.answered = now
        return asked - self.since >= LEASE_S


class Lease:
    """Waits for the lease, then holds it, on a thread and a session of its own.

    `held` goes on until the session or the row is lost; `may_send_until` is a monotonic time; `wanted` is what people
    switched to, as of the last beat.
    """

    def __init__(self, database_url: str, name: str, report: Callable[[], tuple[str, Mapping[str, Any]]]) -> None:
        self.held = threading.Event()
        self.epoch = 0
        self.may_send_until = 0.0
        self.wanted: Switched | None = None
        self._seen = (0, 0)  # epoch and beat
        self.answered_s = 0.0  # when Postgres answered last, for people; monotonic
        self._url, self._name, self._report = database_url, name, report
        self._holder = str(uuid4())
        self._backends: dict[int, str] = {}
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"outbox-lease-{name}", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether its thread is."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to wait for it."""
        self._thread.start()

    def close(self) -> None:
        """Give it back, so that a standby has it at once."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join()

    def lose(self) -> None:
        """Called by the sender after an error of its own: let go, so that whoever can work does."""
        self.held.clear()
        with self._changed:
            self._changed.notify_all()

    def adopt(self, session: Session) -> None:
        """Name a session that works for this holder: it is ended with it."""
        [(pid, start)] = session.execute(OWN_BACKEND).fetchall()
        self._backends[pid] = start

    def _run(self) -> None:
        pause_s = BEAT_S
        while not self._stop.is_set():
            try:
                with connect(self._url, "lease", "statement_timeout=4s", "lock_timeout=2s") as session:
                    before = self._wait(session)
                    pause_s = BEAT_S
                    if before is not None:
                        self._hold(session, before)
                        self._stop.wait(BEAT_S)  # somebody else may do better
            except psycopg.Error as error:
                log.warning("relay %s: no lease: %s. Trying again in %.1f s.", self._name, _short(error), pause_s)
                self.held.clear()
                self._stop.wait(pause_s)
                pause_s = min(pause_s * 2, RESTART_MAX_S)
            finally:
                self.held.clear()

    def _wait(self, session: Session) -> int | None:
        """Return, with the lock in hand, the epoch of the holder before; None: we are told to stop."""
        watch, over = Watch(), -1
        while not self._stop.is_set():
            asked = time.monotonic()
            epoch, beat, name, holder, may_live = session.execute(READ).fetchall()[0]
            answered = self.answered_s = time.monotonic()
            self._see(session, (epoch, beat))
            if (not may_live or holder in (None, self._holder) or over == epoch) and _taken(session):
                return int(epoch)
            if watch.expired((epoch, beat), asked, answered):
                log.warning(
                    "relay %s: %s (%s) has not moved for %.0f s; taking over", self._name, name, holder, LEASE_S
                )
                failpoint("relay.depose.before")
                session.execute(END_SESSIONS)
                failpoint("relay.depose.after")
                watch, over = Watch(), epoch
            self._stop.wait(STANDBY_LOOK_S)
        return None

    def _hold(self, session: Session, before: int) -> None:
        asked = time.monotonic()
        failpoint("relay.lease.before")
        # The one thing that is not done again: an epoch that others have seen must not be lost by a crash of Postgres.
        session.execute("SET synchronous_commit = local")
        taken = session.execute(TAKE, (self._holder, self._name, before)).fetchone()
        session.execute("SET synchronous_commit = off")
        failpoint("relay.lease.after")
        if taken is None:
            return  # somebody has had it between our look and our lock
        self.epoch, beat, self.wanted = taken
        self._seen = (self.epoch, beat)
        self._backends.clear()
        self.adopt(session)
        self.may_send_until = asked + SEND_WINDOW_S
        self.held.set()
        log.info("relay %s: has the lease, epoch %d", self._name, self.epoch)
        while self.held.is_set() and not self._stop.is_set():
            self._beat(session)
            with self._changed:
                self._changed.wait(BEAT_S)
        if self.held.is_set():
            failpoint("relay.give_back.before")
            session.execute(GIVE_BACK, (self.epoch, self._holder))
            failpoint("relay.give_back.after")
        with suppress(psycopg.Error):
            session.execute("SELECT pg_advisory_unlock_all()")

    def _beat(self, session: Session) -> None:
        asked = time.monotonic()
        state, health = self._report()
        backends = json.dumps([{"pid": pid, "start": start} for pid, start in list(self._backends.items())])
        values = {"state": state, "health": json.dumps(health), "backends": backends}
        failpoint("relay.beat.before")
        beaten = session.execute(BEAT, values | {"epoch": self.epoch, "holder": self._holder}).fetchone()
        failpoint("relay.beat.after")
        if beaten is None:
            log.warning("relay %s: deposed, the lease has another holder", self._name)
            self.held.clear()
            return
        self.answered_s = time.monotonic()
        self.may_send_until = asked + SEND_WINDOW_S
        beat, self.wanted = beaten
        self._seen = (self.epoch, beat)

    def _see(self, session: Session, now: tuple[int, int]) -> None:
        """Epochs only rise, and are flushed before anybody sees them; beats rise too, and a crash loses some."""
        (epoch, beat), (epoch_seen, beat_seen) = now, self._seen
        if epoch < epoch_seen or (epoch == epoch_seen and beat < beat_seen - BEATS_LOST_MAX):
            why = (
                f"this database went back, from {self._seen} to {now} (epoch, beat of its relay). A backup, a replica?"
            )
            log.error("relay %s: %s What its outbox holds goes out again, under the same ids", self._name, why)
            slot.note_trouble(session, why)
        self._seen = now


def _taken(session: Session) -> bool:
    return bool(session.execute(TRY_LOCK).fetchall()[0][0])


def _short(error: psycopg.Error) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
