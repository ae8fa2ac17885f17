"""The relay of one database, and of several in one process: wait for the lease, then send.

It runs on threads of its own, so that neither a busy event loop nor Kafka keeps it from answering Postgres; `run` is
the handle to it. It goes on over everything that may pass: a lost session, a restart of either server, tables that are
not there yet. What it cannot do it says in the log and in amends.relay_lease.

Between cdc and polling it changes over while it runs: one sender ends in order (it hears what Kafka still owes, and
deletes it) and the next begins under the same lease. That is a planned stop and a start, which lose, double and
disorder nothing.
"""

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import psycopg
from psycopg.conninfo import conninfo_to_dict

from outbox_relay import slot
from outbox_relay.broker import Broker
from outbox_relay.deleter import Deleter
from outbox_relay.errors import RelayMisfit
from outbox_relay.external import Janitor
from outbox_relay.house import House
from outbox_relay.lease import Lease
from outbox_relay.limits import RESTART_FIRST_S, RESTART_MAX_S, SENT_KEPT_S, SILENT_S, STOP_S
from outbox_relay.postgres import Session, connect
from outbox_relay.publisher import KafkaPublisher
from outbox_relay.replication import Stream
from outbox_relay.sender import Sender, new_counts
from outbox_relay.wake import Wake

log = logging.getLogger("outbox_relay")

Mode: TypeAlias = Literal["cdc", "polling", "external"]
# At the session of a sender: no answer in this time, and the tenure ends and begins again.
_TIMEOUTS = ("statement_timeout=10s", "lock_timeout=5s", "idle_in_transaction_session_timeout=5s")


@dataclass(frozen=True, slots=True)
class Health:
    """How a relay is. `state`: waiting (for the lease), starting, polling, streaming, external."""

    database: str
    state: str
    epoch: int
    detail: Mapping[str, Any]


class Relay:
    """Moves the outbox of one database to Kafka: a task in your process; as a process of its own it is `amends relay`.

    mode: `cdc` follows a replication slot, and polls where `wal_level` is not `logical`; `polling` only polls, and
    drops the slot; `external` sends nothing: Debezium does, through the slot `external_slot` (amends_outbox), and this
    deletes what it has sent. Slots' names are of the whole server: `{database}` in it stands for the database's. What
    `amends relay switch` has stored in the database goes before `cdc` and `polling` here, and leaves `external` as it
    is. Several relays of one database: one sends, the others stand by. `sent_kept_s`: the window of
    amends.outbox_sent. `kafka_config` goes to librdkafka as it is.
    """

    def __init__(
        self,
        *,
        database_url: str,
        kafka_bootstrap_servers: str,
        mode: Mode = "cdc",
        name: str | None = None,
        kafka_config: Mapping[str, str] | None = None,
        external_slot: str | None = None,
        sent_kept_s: float = SENT_KEPT_S,
    ) -> None:
        self._sent_kept_s = sent_kept_s
        self._url, self._kafka, self._mode = database_url, kafka_bootstrap_servers, mode
        self._kafka_config, self._external_slot = dict(kafka_config or {}), external_slot or slot.EXTERNAL
        self.database = str(conninfo_to_dict(database_url).get("dbname") or "?")
        self._name = name or f"{socket.gethostname()}/{os.getpid()}/{self.database}"
        self._lease = Lease(database_url, self._name, self._report)
        self._stop = threading.Event()
        self._wake: Wake | None = None
        self._worker: Sender | Janitor | None = None
        self._house: House | None = None
        self._counts = new_counts()

    async def run(self, stop: asyncio.Event | None = None) -> None:
        """Run until `stop` is set or the task is cancelled; what the broker still owes is heard out first."""
        if self._wake is not None:
            raise RuntimeError("this Relay has run already; make a new one")
        self._wake = Wake()
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        thread = threading.Thread(
            target=self._thread, args=(loop, ended), name=f"outbox-relay-{self.database}", daemon=True
        )
        thread.start()
        stopped = asyncio.ensure_future(stop.wait()) if stop is not None else None
        try:
            ends: list[asyncio.Future[Any]] = [ended, *([stopped] if stopped is not None else [])]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if stopped is not None:
                stopped.cancel()
            self._stop.set()
            self._wake.ring()
            await asyncio.shield(asyncio.wait({ended}))
            self._wake.close()
        ended.result()

    def health(self) -> Health:
        """How it is now. Other processes read the same from amends.relay_lease."""
        state, detail = self._report()
        return Health(self.database, state if self._lease.held.is_set() else "waiting", self._lease.epoch, detail)

    @property
    def counts(self) -> Mapping[str, int]:
        """Since this object was made: rows sent, deliveries failed, rows parked (`dead`), looks at the table."""
        return self._counts

    def not_ready(self) -> Iterator[str]:
        """Why it neither sends nor stands by; nothing: it does. From any thread; never waits."""
        worker, house = self._worker, self._house
        if self._stop.is_set():
            yield "it is being stopped"
        if time.monotonic() - self._lease.answered_s > SILENT_S:
            yield "Postgres does not answer"
        elif self._lease.held.is_set() and (worker is None or house is None):
            yield "it has the lease and has not begun to send"
        if house is not None and "broker" in house.report:
            yield f"Kafka does not answer: {house.report['broker'] or 'no word in time'}"
        if worker is not None and (why := worker.health.get("error")):
            yield f"Kafka takes nothing: {why}"

    def broken(self) -> Iterator[str]:
        """Why it will never send again; nothing: it sends, or will when others let it."""
        house = self._house
        if self._wake is None or self._stop.is_set():
            return
        if not self._lease.is_alive:
            yield "its thread for the lease has ended"
        if house is not None and house.has_died():
            yield "its thread for the house has ended"

    def _report(self) -> tuple[str, Mapping[str, Any]]:
        worker, house = self._worker, self._house
        if worker is None:
            return "starting", {}
        return worker.mode, {**worker.health, **(house.report if house else {}), "wanted": self._wanted()}

    def _wanted(self) -> Mode:
        return "external" if self._mode == "external" else self._lease.wanted or self._mode

    # -- its own thread --------------------------------------------------------------------------------------------

    def _thread(self, loop: asyncio.AbstractEventLoop, ended: "asyncio.Future[None]") -> None:
        try:
            self._work()
        except BaseException as error:  # a fault of ours: `run` raises it
            log.exception("relay %s: ended by an error", self._name)
            loop.call_soon_threadsafe(ended.set_exception, error)
        else:
            loop.call_soon_threadsafe(ended.set_result, None)

    def _work(self) -> None:
        self._lease.start()
        pause_s = RESTART_FIRST_S
        try:
            while not self._stop.is_set():
                if not self._lease.held.wait(0.1):
                    continue
                try:
                    self._tenure()
                    pause_s = RESTART_FIRST_S
                except (psycopg.Error, RelayMisfit) as error:
                    log.warning("relay %s: %s; beginning again in %.1f s", self._name, str(error).strip(), pause_s)
                    self._lease.lose()
                    self._stop.wait(pause_s)
                    pause_s = min(pause_s * 2, RESTART_MAX_S)
        finally:
            self._lease.close()

    def _tenure(self) -> None:
        with connect(self._url, "send", *_TIMEOUTS) as session:
            self._lease.adopt(session)
            broker = Broker(self._kafka, f"amends-relay-{self.database}", self._kafka_config)
            self._house = house = House(
                self._url, self.database, broker, self._lease.adopt, sent_kept_s=self._sent_kept_s
            )
            house.start_from(session)
            try:
                if self._mode == "external":
                    self._keep_clean(session, house)
                while self._lease.held.is_set() and not self._stop.is_set() and self._mode != "external":
                    self._send(session, house, self._wanted())
            finally:
                house.close()
                self._house = None  # with it goes its Kafka client, which would knock at the brokers for ever

    def _keep_clean(self, session: Session, house: House) -> None:
        house.external_slot = slot_name = slot.name_for(session, self._external_slot)
        house.slot_wanted = slot_name == slot.name_of(session)  # one of ours has no reader here
        janitor = Janitor(
            self._name,
            lease=self._lease,
            session=session,
            house=house,
            slot_name=slot_name,
            sent_kept_s=self._sent_kept_s,
        )
        self._worker = janitor
        try:
            janitor.run(self._stop.is_set, self._stop.wait)
        finally:
            self._worker = None

    def _send(self, session: Session, house: House, mode: Mode) -> None:
        """Send in this mode until the lease is lost, we are told to stop, or people want another."""
        assert self._wake is not None
        house.slot_wanted = mode == "cdc"
        cdc = mode == "cdc" and self._can_stream(session)
        stream = Stream(self._url, self.database, self._lease.adopt, self._wake.ring) if cdc else None
        shown = (lambda: stream.confirmed) if stream is not None else (lambda: 0)
        deleter = Deleter(self._url, self.database, self._lease.adopt, shown, self._sent_kept_s)
        publisher = KafkaPublisher(self._kafka, f"amends-relay-{self.database}", self._kafka_config)
        sender = Sender(
            self._name,
            lease=self._lease,
            session=session,
            publisher=publisher,
            deleter=deleter,
            house=house,
            stream=stream,
            wake=self._wake,
            counts=self._counts,
        )
        self._worker = sender
        deleter.start()
        if stream is not None:
            stream.start()
        try:
            sender.run(lambda: self._stop.is_set() or self._wanted() != mode)
        finally:
            self._worker = None
            publisher.close()
            if stream is not None:
                stream.close()
            deleter.close(STOP_S if self._lease.held.is_set() else 0.0)
        if self._wanted() != mode:
            log.warning("relay %s: switched from %s to %s", self._name, mode, self._wanted())

    def _can_stream(self, session: Session) -> bool:
        [(level,)] = session.execute("SHOW wal_level").fetchall()
        if level == "logical":
            return True
        log.error(
            "relay %s: wal_level is %r, so there is nothing to follow and the outbox is POLLED: slower, and a burden "
            "for the database. Set `wal_level = logical` in postgresql.conf and restart Postgres.",
            self._name,
            level,
        )
        return False


class Relays:
    """The relays of several databases in one process."""

    def __init__(self, relays: Sequence[Relay]) -> None:
        self._relays = list(relays)

    async def run(self, stop: asyncio.Event | None = None) -> None:
        """Run all until `stop` is set; an error in one ends all."""
        stop = stop or asyncio.Event()
        tasks = [asyncio.ensure_future(relay.run(stop)) for relay in self._relays]
        try:
            await asyncio.gather(*tasks)
        finally:
            stop.set()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def health(self) -> list[Health]:
        """How each is."""
        return [relay.health() for relay in self._relays]
