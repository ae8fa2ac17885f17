"""Keep house while we hold the lease, on a thread of its own: it asks Kafka, and may wait for the answer.

Refreshes amends.topics, makes and drops the partitions of outbox_sent, puts rows of a lost topic back, sees that a
redrive is asked for, watches the WAL that the slot keeps, and drops the slot while nobody wants to follow it.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
from confluent_kafka import KafkaException

from outbox_relay import dead, sent, slot, topics
from outbox_relay.broker import Broker
from outbox_relay.limits import KEEP_HOUSE_S, RESTART_MAX_S, SECOND_LOOK_S, SENT_KEPT_S, TOPICS_REFRESH_S
from outbox_relay.postgres import Session, connect

log = logging.getLogger("outbox_relay")

PARTITIONS_EVERY_S = 3_600.0
LOST_ROWS_EVERY_S = 60.0
WAL_RETAINED_WARN_BYTES = 1024 * 1024 * 1024


class House(threading.Thread):
    """What the broker last said of the topics. `redrive_asked`: set by us, cleared by the sender when it is done.

    `slot_wanted` False: the outbox is polled on purpose, and a slot that nobody reads would keep WAL until the disk is
    full.
    """

    def __init__(
        self,
        database_url: str,
        name: str,
        broker: Broker,
        adopt: Callable[[Session], None],
        *,
        sent_kept_s: float = SENT_KEPT_S,
    ) -> None:
        super().__init__(name=f"outbox-house-{name}", daemon=True)
        self.topic_ids: dict[str, str | None] = {}
        self.missing: frozenset[str] = frozenset()
        self.partitions: dict[str, int] = {}  # of topics, as Kafka said since they were doubted last
        self._asked: frozenset[str] = frozenset()  # topics that Kafka was asked about, answer or not
        self.redrive_asked = threading.Event()
        self.slot_wanted = True
        self.external_slot: str | None = None  # the slot of whoever sends in our place
        self.report: dict[str, Any] = {}
        self._url, self._broker, self._adopt, self._sent_kept_s = database_url, broker, adopt, sent_kept_s
        self._stop_asked = threading.Event()
        self._wanted: set[str] = set()
        self._doubtful: frozenset[str] = frozenset()  # absent at the last look, and not before
        self._doubted: set[str] = set()  # by the sender, since the last look began
        self._wake = threading.Event()
        self._due = {"partitions": 0.0, "topics": 0.0, "lost": 0.0}

    def start_from(self, session: Session) -> None:
        """Begin with the topic ids that were stored last: an old one is safe, its rows would go out twice."""
        self.topic_ids = {name: topic_id for name, _count, topic_id in session.execute(topics.SELECT).fetchall()}
        self.start()

    def close(self) -> None:
        """Stop; a question that the broker does not answer is left behind."""
        self._stop_asked.set()
        self._wake.set()
        self.join(KEEP_HOUSE_S)

    def has_died(self) -> bool:
        """Whether it ended and nobody asked it to."""
        return self.ident is not None and not self.is_alive() and not self._stop_asked.is_set()

    def want(self, topic: str) -> None:
        """Ask about this topic now: its id is to be known before anything is sent to it."""
        if topic not in self._wanted:
            self._wanted.add(topic)
            self._due["topics"] = 0.0
            self._wake.set()

    def doubt(self, topic: str) -> None:
        """What is known of it may be outdated: ask again, before anything more is sent to it."""
        self._doubted.add(topic)
        self._due["topics"] = 0.0
        self._wake.set()

    def knows(self, topic: str) -> bool:
        """Whether Kafka was asked about it since it was doubted, if it ever was."""
        return topic in self._asked and topic not in self._doubted

    def why_missing(self, topic: str) -> str:
        """What Kafka says of a topic that is not there for us."""
        if topic in self._broker.forbidden:
            return "our login may not write to it (topic authorization failed)"
        return "Kafka says that there is no such topic"

    def run(self) -> None:
        """Go on over whatever fails: the next round tries again."""
        pause_s = KEEP_HOUSE_S
        while not self._stop_asked.is_set():
            try:
                with connect(self._url, "house", "lock_timeout=1s", "statement_timeout=30s") as session:
                    self._adopt(session)
                    while not self._stop_asked.is_set():
                        self._round(session)
                        pause_s = KEEP_HOUSE_S
                        self._wake.wait(min(KEEP_HOUSE_S, max(0.0, self._due["topics"] - time.monotonic())))
                        self._wake.clear()
            except psycopg.Error as error:
                log.warning("%s: %s; trying again in %.1f s", self.name, str(error).strip(), pause_s)
                self._stop_asked.wait(pause_s)
                pause_s = min(pause_s * 2, RESTART_MAX_S)

    def _round(self, session: Session) -> None:
        if self._is_due("partitions"):
            sent.make_partitions(session, self._sent_kept_s)
            self._did("partitions", PARTITIONS_EVERY_S)
        if self._is_due("topics"):
            self._did("topics", TOPICS_REFRESH_S)  # before: a topic that is wanted meanwhile makes it due again
            self._refresh(session)
            self._watch_slot(session)
        if not self.slot_wanted:
            self._drop_slot(session)
        if session.execute(dead.ASKED).fetchall()[0][0]:
            self.redrive_asked.set()

    def _is_due(self, what: str) -> bool:
        return time.monotonic() >= self._due[what]

    def _did(self, what: str, every_s: float) -> None:
        self._due[what] = time.monotonic() + every_s

    def _refresh(self, session: Session) -> None:
        known = dict.fromkeys(list(self._wanted))
        known.update((name, topic_id) for name, _count, topic_id in session.execute(topics.SELECT).fetchall())
        self._begin_look()
        try:
            found = self._broker.describe(known)
        except (KafkaException, TimeoutError) as error:
            self.report["broker"] = str(error)
            log.warning("%s: no word from Kafka about the topics: %s", self.name, str(error) or type(error).__name__)
            self._asked |= known.keys()
            return
        self.report.pop("broker", None)
        topics.store(session, found)
        # Also against what we saw last: whoever made it again (a migration) may have noted its id before us.
        before = self.topic_ids
        changed = [
            name
            for name, topic in found.items()
            if name in self.missing or {topic.topic_id} != {before.get(name), known[name], topic.topic_id} - {None}
        ]
        for name in changed:
            log.warning(
                "%s: topic %s was made again (id %s, was %s)", self.name, name, found[name].topic_id, before.get(name)
            )
        self.topic_ids = {name: topic.topic_id for name, topic in found.items()}
        doubtful = self._see_missing(frozenset(known) - frozenset(found))
        self.partitions = {name: topic.partitions for name, topic in found.items()}
        self._asked = frozenset(known) - doubtful
        if dead.ask_for_found(session, self.partitions):
            self.redrive_asked.set()
        # Not only when the id has just changed: the ack of a lost topic may be booked after that [M5].
        if self._is_due("lost") or changed:
            self._resend_lost(session)
            self._did("lost", LOST_ROWS_EVERY_S)

    def _begin_look(self) -> None:
        """What was doubted up to here is asked about now: until the answer, what was said before is nothing."""
        doubted = frozenset(self._doubted)
        self._asked -= doubted
        self.partitions = {name: count for name, count in self.partitions.items() if name not in doubted}
        self._doubted -= doubted

    def _see_missing(self, absent: frozenset[str]) -> frozenset[str]:
        """Those that were there a look ago, or never asked about. A broker does not know of a topic for a moment after
        it was made: they are asked about once more, soon, and until then their rows wait.
        """
        doubtful = absent - self.missing - self._doubtful
        self._doubtful = doubtful
        if doubtful:
            self._due["topics"] = min(self._due["topics"], time.monotonic() + SECOND_LOOK_S)
        self._tell_missing(absent - doubtful)
        return doubtful

    def _tell_missing(self, missing: frozenset[str]) -> None:
        for name in missing - self.missing:
            log.warning(
                "%s: topic %s is in amends.topics, but %s; its rows go to amends.outbox_dead until that has changed",
                self.name,
                name,
                self.why_missing(name),
            )
        self.missing = missing
        self.report["topics_missing"] = sorted(missing)

    def _resend_lost(self, session: Session) -> None:
        for name, topic_id in self.topic_ids.items():
            if topic_id is not None and (count := sent.resend_lost(session, name, topic_id)):
                log.warning("%s: %d rows had been sent to a lost topic %s; they go out again", self.name, count, name)

    def _drop_slot(self, session: Session) -> None:
        if slot.noted(session).name is not None:
            slot.note(session, None, None)
        name = slot.name_of(session)
        if slot.status(session, name) is None or self.slot_wanted:
            return  # gone, or people have thought better of it since this round began
        session.execute(slot.END_READER, (name,))  # who reads it has been deposed, or is on its way out
        if slot.drop(session, name):
            log.info("%s: the outbox is polled on purpose; dropped the slot %s, which kept WAL", self.name, name)

    def _watch_slot(self, session: Session) -> None:
        found = slot.status(session, self.external_slot or slot.name_of(session))
        self.report["wal_retained_bytes"] = found.retained_bytes if found else 0
        if found and found.retained_bytes > WAL_RETAINED_WARN_BYTES:
            log.warning(
                "%s: the slot keeps %.1f GB of WAL. Is a transaction open for hours? See pg_stat_activity, and set "
                "max_slot_wal_keep_size: the relay makes a lost slot again by itself.",
                self.name,
                found.retained_bytes / 1e9,
            )
