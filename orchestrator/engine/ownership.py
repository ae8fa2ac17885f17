"""The shards we hold: claimed, given back, lost; and what each of these means for the rest of the worker."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString
from uuid import UUID

import psycopg

from orchestrator.engine import fence, journal, workers
from orchestrator.engine.cache import Cache
from orchestrator.engine.intake import Intake
from orchestrator.engine.recovery import RESTORED
from orchestrator.engine.shards import Plan
from orchestrator.engine.step_starts import StepStarts
from orchestrator.engine.wakeups import Wakeups
from orchestrator.engine.watermarks import Watermarks
from orchestrator.errors import AmendsError

log = logging.getLogger("orchestrator.engine.ownership")

CLAIM_AGAIN_S = 0.2

_END_OTHER_SELVES: LiteralString = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE application_name = current_setting('application_name') AND usename = current_user AND pid <> pg_backend_pid()
"""


@dataclass(slots=True)
class Ownership:
    """Holds by shard. Everything that hangs on a hold (messages, wake-ups, live sagas) comes and goes with it."""

    worker: UUID
    intake: Intake
    cache: Cache
    wakeups: Wakeups
    watermarks: Watermarks
    step_starts: StepStarts
    topic_id: Callable[[], str]
    claimed: Callable[[psycopg.Connection[Any], Sequence[fence.Hold]], None]
    recover: Callable[[psycopg.Connection[Any], fence.Hold, str, int], None]
    holds: dict[int, fence.Hold] = field(default_factory=dict)
    # For people, since the process began.
    claims: int = 0
    takeovers: int = 0  # claims of shards whose owner was gone or stood still
    given_back: int = 0
    lost: int = 0  # read anew under another epoch, or somebody else's now
    _unread: set[int] = field(default_factory=set)  # ours by the table perhaps, and not held: nobody else claims them
    _again_s: float = 0.0

    def follow(self, connection: psycopg.Connection[Any], plan: Plan) -> None:
        """Give back what others asked for, claim what should be ours."""
        if given := plan.gifts & self.holds.keys():
            fence.release(connection, [self.holds[shard] for shard in given])
            self._forget(given)
            self.given_back += len(given)
            log.info("shards %s given back to who asked for them", sorted(given))
        self._take(connection, [claim for claim in plan.claims if claim[0] not in self.holds])
        if self._unread and time.monotonic() >= self._again_s:
            self._again_s = time.monotonic() + CLAIM_AGAIN_S
            self._claim_own(connection, frozenset(self._unread))

    def _take(self, connection: psycopg.Connection[Any], claims: list[tuple[int, int, UUID | None]]) -> None:
        """Claim what nobody owns, or somebody who is gone or stands still."""
        robbed = {shard: dead for shard, _, dead in claims if dead is not None}
        for dead in set(robbed.values()):
            if ended := workers.terminate_backends(connection, dead):
                log.warning("ended %s database sessions of worker %s, which is gone or stands still", ended, dead)
        taken = self._claim(connection, {shard: epoch for shard, epoch, _ in claims})
        self.takeovers += len(taken & robbed.keys())

    def _claim_own(self, connection: psycopg.Connection[Any], shards: frozenset[int] | None = None) -> None:
        """Shards (None: all) that are ours by the table: for everybody else their owner lives."""
        self._unread.clear()
        ours = [owner for owner in fence.owners(connection) if owner.worker == self.worker]
        wanted = [owner for owner in ours if shards is None or owner.shard in shards]
        self._claim(connection, {owner.shard: owner.epoch for owner in wanted if owner.shard not in self.holds})

    def reclaim(self, connection: psycopg.Connection[Any]) -> None:
        """After a lost session: whether our last COMMIT happened is not known. New epochs wait for it to be decided."""
        connection.execute(_END_OTHER_SELVES)
        self._claim_own(connection)

    def start_over(self, connection: psycopg.Connection[Any], shard: int, low: int) -> None:
        """Its topic does not reach to our offset: send again what is open, and read from where the topic begins."""
        self.recover(connection, self.holds[shard], self.topic_id(), low)
        self.reclaim_one(connection, shard)

    def reclaim_one(self, connection: psycopg.Connection[Any], shard: int) -> None:
        """Read this shard anew, from what is committed."""
        hold = self.holds.get(shard)
        self.lose({shard})
        if hold is not None:
            self._claim(connection, {shard: hold.epoch})

    def _claim(self, connection: psycopg.Connection[Any], seen: Mapping[int, int]) -> set[int]:
        """Those of these shards, with the epochs that were seen, which are ours now."""
        if not seen:
            return set()
        try:
            topic_id = self.topic_id()
        except AmendsError as error:
            log.warning("shards %s can't be read: %s", sorted(seen), error)
            self._unread |= seen.keys()
            return set()
        holds = fence.claim(connection, seen, self.worker)
        taken = {hold.shard for hold in holds}
        self._unread |= seen.keys() - taken
        # A batch that was gathered before the loss may have loaded sagas since: others have written for them.
        self.cache.drop_shards(frozenset(taken))
        for hold in holds:
            self._hold(connection, hold, topic_id)
        if holds:
            self.claimed(connection, holds)
            self._note_wakes(connection, taken)
        for hold in holds:
            self.intake.read_from(hold.shard, hold.epoch, hold.next_offset, topic_id)
            log.info("shard %s claimed: epoch %s, reading from offset %s", hold.shard, hold.epoch, hold.next_offset)
        self.claims += len(taken)
        return taken

    def _hold(self, connection: psycopg.Connection[Any], hold: fence.Hold, topic_id: str) -> None:
        if hold.topic_id is None:
            fence.set_topic(connection, hold, topic_id, hold.next_offset)
        elif hold.topic_id != topic_id:
            self.recover(connection, hold, topic_id, hold.next_offset if hold.topic_id == RESTORED else 0)
        self.holds[hold.shard] = hold
        self.watermarks.forget(hold.shard)

    def _note_wakes(self, connection: psycopg.Connection[Any], shards: set[int]) -> None:
        for shard, saga_no, saga_id, wake_us in journal.wakes(connection, sorted(shards)):
            if wake_us == journal.LOAD_NOW_US:
                self.step_starts.found(shard, saga_id)
            else:
                self.wakeups.set(saga_no, saga_id, shard, wake_us)

    def unread(self) -> list[int]:
        """Shards that may be ours by the table and are not read: nobody else claims them meanwhile."""
        return sorted(self._unread)

    def lose(self, shards: set[int] | frozenset[int]) -> None:
        """Forget all about these shards: what is not committed is to be done again, by us if they turn out to be ours.

        A fence may have refused only because a row was locked for a moment; nobody but us would look at it then.
        """
        self._unread |= shards
        self.lost += len(shards & self.holds.keys())
        self._forget(shards)

    def _forget(self, shards: set[int] | frozenset[int]) -> None:
        for shard in shards & self.holds.keys():
            del self.holds[shard]
            self.intake.stop_reading(shard)
            self.wakeups.forget_shard(shard)
            self.watermarks.forget(shard)
        self.step_starts.forget(shards)
        self.cache.drop_shards(frozenset(shards))

    def release_all(self, connection: psycopg.Connection[Any]) -> None:
        """A planned stop: others can claim at once. They have to know that we leave: a shard that we may still have a
        right to would be left to us.
        """
        workers.drain(connection, self.worker)
        fence.release(connection, list(self.holds.values()))
        self._forget(set(self.holds))
