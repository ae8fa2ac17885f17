"""M1: two orchestrators and one shard. Who may write, what a batch carries, what a COMMIT without an answer means.

Messages 0 to MESSAGES-1 lie in the partition. An owner runs turns on what it has in memory, then commits journal,
outbox and next_offset behind the fence. It can stop anywhere (a stopped process is one that is not scheduled) or die.
An entry notes the position that its author believed in, so a turn that ran on a stale memory shows in the journal.

`amends.fence` is SQL: `passes` tells it again, and tests/stories/test_fence_agrees.py holds the two together.
"""

from collections.abc import Iterator
from typing import NamedTuple

from tests.model.explorer import Machine, Step
from tests.model.rules import Subject, rule

MESSAGES = 2
BOTH = (0, 1)

RULES = {
    "fence": rule(
        "each batch compares what it knows of the shard with its row, under the row's lock, before it writes"
    ),
    "owner_uuid": rule(
        "A8: it compares a uuid minted by each claim, not only the epoch",
        and_without={"restore_raises_epochs"},
        assuming={"no_volume_restore"},
    ),
    "batch_no": rule("M1: it compares batch_no, so an owner notices a database that went back unseen"),
    "skip_locked": rule("B2, M1: a row that somebody else holds is as good as lost"),
    "one_transaction": rule("3: journal, outbox and next_offset commit together"),
    "claim_forgets": rule("a claim forgets the memory and reads journal and offset again"),
    "unknown_commit_claims": rule(
        "E: after a COMMIT without an answer take a new epoch before believing what is read",
        and_without={"batch_no"},
        assuming={"no_volume_restore"},
    ),
    "sessions_end": rule("B1: a claim ends the sessions of whom it replaces: they may hold the row's lock"),
    "restore_raises_epochs": rule(
        "A8: a database with another timeline makes every epoch rise before anybody writes",
        and_without={"batch_no"},
        assuming={"no_volume_restore"},
    ),
}


class Shard(NamedTuple):
    epoch: int = 0
    owner: int = 0  # 0: nobody yet
    batch_no: int = 0
    next_offset: int = 0
    journal: tuple[tuple[int, int], ...] = ()  # (offset, position its author believed in)
    outbox: tuple[int, ...] = ()


class Hold(NamedTuple):
    """What a worker knows of the shard, as engine.fence.Hold; `position`: how much of the journal is in its memory."""

    epoch: int
    owner: int
    batch_no: int
    next_offset: int
    position: int


class Worker(NamedTuple):
    """`at`: idle, turned (it has a batch), locked (past the fence), unsure (COMMIT was sent, the line broke)."""

    hold: Hold | None = None
    at: str = "idle"
    batch: tuple[tuple[int, int], ...] = ()
    stopped: bool = False


class State(NamedTuple):
    shard: Shard = Shard()
    workers: tuple[Worker, Worker] = (Worker(), Worker())
    deciding: tuple[int, Worker] | None = None  # a COMMIT that has reached the server, and whose
    owners: int = 0  # uuids minted so far
    faults: int = 2
    backup: Shard | None = None
    alarm: str = ""


class FenceMachine(Machine):
    name = "M1 fence"

    def initial(self) -> State:
        return State()

    def broken(self, s: State) -> str | None:
        db, offsets = s.shard, [offset for offset, _ in s.shard.journal]
        if s.alarm:
            return s.alarm
        if offsets != list(range(len(offsets))):
            return f"the journal holds messages {offsets}: one twice, or one is missing"
        if [believed for _, believed in db.journal] != offsets:
            return "a turn ran on a memory that is not the journal"
        if db.next_offset != len(offsets) or db.outbox != tuple(offsets):
            return "journal, outbox and next_offset disagree"
        return None

    def broken_at_rest(self, s: State) -> str | None:
        return None if len(s.shard.journal) == MESSAGES else "a message was never taken"

    def ended(self, s: State) -> bool:
        return len(s.shard.journal) == MESSAGES and s.deciding is None

    def steps(self, s: State) -> Iterator[Step]:
        for who in BOTH:
            yield from self.work(s, who)
        if s.deciding is not None:
            who, w = s.deciding
            undecided = s._replace(deciding=None)
            yield "must", f"the backend of {'AB'[who]} commits after all", self.commit(undecided, w)
            yield "must", f"the backend of {'AB'[who]} rolls back", undecided
        if s.faults:
            yield from self.faults(s)

    def work(self, s: State, who: int) -> Iterator[Step]:
        w, me = s.workers[who], "AB"[who]
        if w.stopped:
            yield "may", f"{me} wakes up", put(s, who, w._replace(stopped=False))
        elif w.at == "unsure":
            yield from self.unsure(s, who)
        elif w.at == "turned":
            yield from self.meet_the_fence(s, who)
        elif w.at == "locked":
            assert w.hold is not None
            yield "must", f"{me} commits", self.commit(put(s, who, self.after_commit(w)), w)
            if s.faults:
                lost = put(s, who, w._replace(at="unsure"))._replace(deciding=(who, w), faults=s.faults - 1)
                yield "fault", f"{me} sends COMMIT, the line breaks, the backend is at it", lost
        else:
            yield from self.idle(s, who)

    def idle(self, s: State, who: int) -> Iterator[Step]:
        w, me = s.workers[who], "AB"[who]
        if s.deciding is None and not self.owner_lives(s):  # A live owner is asked, never robbed.
            yield from self.claim(s, who)
        if w.hold is None:
            return
        if not self.passes(s.shard, w.hold):
            yield "must", f"{me} notices that the shard is not its own any more", put(s, who, Worker())
        for size in (1, 2):
            if w.hold.next_offset + size <= MESSAGES:
                batch = tuple((w.hold.next_offset + i, w.hold.position + i) for i in range(size))
                yield "must", f"{me} runs {size} turns", put(s, who, w._replace(at="turned", batch=batch))

    def owner_lives(self, s: State) -> bool:
        return any(w.hold is not None and not w.stopped and w.hold.owner == s.shard.owner for w in s.workers)

    def who_locks(self, s: State) -> int | None:
        if s.deciding is not None:
            return s.deciding[0]
        return next((who for who in BOTH if s.workers[who].at == "locked"), None)

    def passes(self, db: Shard, hold: Hold) -> bool:
        """What amends.fence and the heartbeat compare."""
        return (
            hold.epoch == db.epoch
            and (hold.owner == db.owner or "owner_uuid" not in self.rules)
            and (hold.batch_no == db.batch_no or "batch_no" not in self.rules)
        )

    def meet_the_fence(self, s: State, who: int) -> Iterator[Step]:
        w, me = s.workers[who], "AB"[who]
        assert w.hold is not None
        if self.who_locks(s) is not None:
            if "skip_locked" in self.rules:
                yield "must", f"{me} finds the row locked, and drops its turns and its memory", put(s, who, Worker())
        elif self.passes(s.shard, w.hold) or "fence" not in self.rules:
            yield "must", f"{me} passes the fence", put(s, who, w._replace(at="locked"))
        else:
            yield "must", f"{me} is fenced off, and drops its turns and its memory", put(s, who, Worker())

    def commit(self, s: State, w: Worker) -> State:
        assert w.hold is not None
        db = s.shard
        robbed = "" if w.hold.owner == db.owner else "a worker wrote the journal of a shard that it does not own"
        offset = w.batch[-1][0] + 1 if "one_transaction" in self.rules else db.next_offset
        wrote = db._replace(
            batch_no=db.batch_no + 1,
            next_offset=offset,
            journal=db.journal + w.batch,
            outbox=db.outbox + tuple(o for o, _ in w.batch),
        )
        return s._replace(shard=wrote, alarm=s.alarm or robbed)

    def after_commit(self, w: Worker) -> Worker:
        assert w.hold is not None
        size = len(w.batch)
        epoch, owner, batch_no, offset, position = w.hold
        return Worker(Hold(epoch, owner, batch_no + 1, offset + size, position + size))

    def claim(self, s: State, who: int) -> Iterator[Step]:
        w, me, locks = s.workers[who], "AB"[who], self.who_locks(s)
        if locks is not None and locks != who:
            if "sessions_end" not in self.rules:
                return  # The UPDATE waits for a process that may never come back.
            s = put(s, locks, s.workers[locks]._replace(at="idle", batch=()))
        db = s.shard._replace(epoch=s.shard.epoch + 1, owner=s.owners + 1)
        hold = Hold(db.epoch, db.owner, db.batch_no, db.next_offset, len(db.journal))
        if w.hold is not None and "claim_forgets" not in self.rules:
            hold = hold._replace(next_offset=w.hold.next_offset, position=w.hold.position)
        yield (
            "must",
            f"{me} claims the shard: epoch {db.epoch}",
            put(s._replace(shard=db, owners=db.owner), who, Worker(hold)),
        )

    def unsure(self, s: State, who: int) -> Iterator[Step]:
        w, me, db = s.workers[who], "AB"[who], s.shard
        assert w.hold is not None
        if "unknown_commit_claims" in self.rules:
            if s.deciding is None:
                yield "must", f"{me} gives its epoch up, not knowing", put(s, who, Worker())
            return
        read = w.hold._replace(batch_no=db.batch_no, next_offset=db.next_offset, position=len(db.journal))
        yield "must", f"{me} reads the shard, not knowing, and goes on", put(s, who, Worker(read))

    def faults(self, s: State) -> Iterator[Step]:
        less = s._replace(faults=s.faults - 1)
        for who in BOTH:
            w, me = s.workers[who], "AB"[who]
            if w.hold is None:
                continue
            yield "fault", f"{me} dies", put(less, who, Worker())
            if not any(x.stopped for x in s.workers):  # Somebody replaces a process that never wakes up.
                yield "fault", f"{me} is stopped", put(less, who, w._replace(stopped=True))
        if s.backup is None and s.shard.journal:
            yield "fault", "a replica, or a snapshot of the volume, has got this far", s._replace(backup=s.shard)
        if s.backup not in (None, s.shard) and s.deciding is None:
            yield from self.go_back(less, s.backup)

    def go_back(self, s: State, backup: Shard | None) -> Iterator[Step]:
        assert backup is not None
        # Nobody's transaction outlives it: who was past the fence must pass it again, who was unsure claims.
        left = {"unsure": Worker(), "locked": None}
        workers = tuple(left[w.at] or w._replace(at="turned") if w.at in left else w for w in s.workers)
        back = s._replace(backup=None, workers=workers)
        risen = backup
        if "restore_raises_epochs" in self.rules:
            risen = backup._replace(epoch=s.shard.epoch + 1, owner=-1)
        yield "fault", "the database fails over to that replica", back._replace(shard=risen)
        if "no_volume_restore" not in self.rules:
            yield "fault", "that volume is put back: same system id, same timeline", back._replace(shard=backup)


def put(s: State, who: int, w: Worker) -> State:
    return s._replace(workers=(w, s.workers[1]) if who == 0 else (s.workers[0], w))


SUBJECT = Subject("M1 fence", (FenceMachine,), RULES)
